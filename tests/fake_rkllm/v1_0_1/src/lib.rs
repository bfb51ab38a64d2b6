//! The fake with the ABI of v1_0_1.
