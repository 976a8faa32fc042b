//! One binary that serves the Kustomer REST API from a database its user owns.
