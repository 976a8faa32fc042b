//! Prints how konverse compares with the limit of its own stack and with nginx.
