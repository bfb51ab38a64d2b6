//! The fake with the ABI of v1_2_0.
