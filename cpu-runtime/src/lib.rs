//! The C ABI of RKLLM 1.3.0 served by llama.cpp.
