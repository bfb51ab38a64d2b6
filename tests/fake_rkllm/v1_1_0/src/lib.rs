//! The fake with the ABI of v1_1_0.
