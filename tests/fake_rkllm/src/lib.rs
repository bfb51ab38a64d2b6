//! A scripted stand-in for librkllmrt.so.
