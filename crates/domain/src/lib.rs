//! The rules of konverse: who may do what, and what follows from a write.
