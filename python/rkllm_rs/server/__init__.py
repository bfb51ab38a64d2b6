"""The HTTP server: one model or several for OpenAI, Ollama and Anthropic clients."""
