//! Searching records: what a query may ask for, and the index that answers it.
