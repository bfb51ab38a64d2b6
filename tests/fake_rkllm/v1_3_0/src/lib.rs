//! The fake with the ABI of v1_3_0.
