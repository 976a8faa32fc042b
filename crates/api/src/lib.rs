//! The Kustomer REST API over HTTP: routes, answers, error documents, openapi.json.
