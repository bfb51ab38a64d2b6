/* A program as others write it against RKLLM 1.3.0, with checks: opens the library, runs a model in
 * every way the ABI offers. Usage: abi_demo <library> <model.gguf>.
 *
 * Long because it is one program in one file, as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rkllm.h"

#define MOST 4096

/* The private table of the CPU runtime. */
typedef struct {
    uint32_t version, size;
    int (*count_tokens)(LLMHandle, const char *, size_t, const char *);
    int (*vocab_size)(LLMHandle);
    int (*embd_size)(LLMHandle);
    int (*context_limit)(LLMHandle);
    int (*set_seed)(LLMHandle, int, uint64_t);
    int (*tokenize)(LLMHandle, const char *, size_t, int, int32_t *, int);
    int (*template_problem)(LLMHandle, char *, int);
    int (*detokenize)(LLMHandle, const int32_t *, size_t, int, char *, int);
    int (*end_pause)(LLMHandle);
    int (*set_reuse)(LLMHandle, int);
    int (*prompt_figures)(LLMHandle, int32_t (*)[2], int);
    int (*vocabulary)(LLMHandle, char *, int);
    int (*set_logits_processor)(LLMHandle, void (*)(void *, int, float *, int));
} CpuTable;

static int failures;
static RKLLMFunctions f;
static const CpuTable *table;

#define SAME(a, b)                                                                    \
    do {                                                                              \
        if (strcmp(a, b)) {                                                           \
            fprintf(stderr, "abi_demo.c:%d: failed: '%s' is not '%s'\n", __LINE__, a, b); \
            failures++;                                                               \
        }                                                                             \
    } while (0)
#define CHECK(what)                                                             \
    do {                                                                        \
        if (!(what)) {                                                          \
            fprintf(stderr, "abi_demo.c:%d: failed: %s\n", __LINE__, #what);    \
            failures++;                                                         \
        }                                                                       \
    } while (0)

/* What the callback has seen. */
typedef struct {
    char text[65536];
    size_t length;
    int32_t tokens[MOST];
    int n_tokens, n_waiting, n_finish, n_error;
    RKLLMPerfStat perf;
    pthread_t thread;
    int pause_at;  /* answer 1 at this token */
    int abort_at;  /* call rkllm_abort at this token */
    LLMHandle handle;
    float *values;
    int rows, width, returned;
} Seen;

static int on_result(RKLLMResult *result, void *userdata, int state) {
    Seen *seen = userdata;
    seen->thread = pthread_self();
    if (state == RKLLM_RUN_FINISH) {
        seen->n_finish++;
        seen->perf = result->perf;
        return 0;
    }
    if (state == RKLLM_RUN_ERROR) {
        seen->n_error++;
        return 0;
    }
    const float *values = result->logits.logits;
    int rows = result->logits.num_tokens, width = result->logits.vocab_size;
    if (result->last_hidden_layer.hidden_states) {
        values = result->last_hidden_layer.hidden_states;
        rows = result->last_hidden_layer.num_tokens;
        width = result->last_hidden_layer.embd_size;
    }
    if (values) {
        free(seen->values);
        seen->values = malloc(sizeof(float) * (size_t)rows * (size_t)width);
        memcpy(seen->values, values, sizeof(float) * (size_t)rows * (size_t)width);
        seen->rows = rows;
        seen->width = width;
        return 2;
    }
    if (state == RKLLM_RUN_WAITING) seen->n_waiting++;
    if (result->text) {
        size_t length = strlen(result->text);
        if (seen->length + length < sizeof seen->text) {
            memcpy(seen->text + seen->length, result->text, length + 1);
            seen->length += length;
        }
    }
    if (result->token_id >= 0 && seen->n_tokens < MOST) seen->tokens[seen->n_tokens++] = result->token_id;
    if (seen->abort_at && seen->n_tokens == seen->abort_at) CHECK(f.abort(seen->handle) == 0);
    return seen->pause_at && seen->n_tokens == seen->pause_at;
}

static RKLLMInput text_input(const char *text) {
    RKLLMInput input;
    memset(&input, 0, sizeof input);
    input.role = "user";
    input.input_type = RKLLM_INPUT_PROMPT;
    input.prompt_input = text;
    return input;
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no symbol %s\n", name);
        exit(1);
    }
    return found;
}

static void open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
#define LOAD(name) *(void **)&f.name = symbol(library, "rkllm_" #name)
    LOAD(createDefaultParam);
    LOAD(init);
    LOAD(run);
    LOAD(run_async);
    LOAD(abort);
    LOAD(is_running);
    LOAD(destroy);
    LOAD(load_lora);
    LOAD(load_prompt_cache);
    LOAD(release_prompt_cache);
    LOAD(clear_kv_cache);
    LOAD(set_chat_template);
    LOAD(get_kv_cache_size);
    LOAD(set_function_tools);
    LOAD(set_cross_attn_params);
    const CpuTable *(*get)(uint32_t);
    *(void **)&get = symbol(library, "rkllm_rs_cpu_table");
    table = get(1);
    CHECK(table && table->version == 1 && table->size == sizeof *table);
    CHECK(!get(0) && !get(99));
    CHECK(!dlsym(library, "llama_decode") && !dlsym(library, "ggml_init"));
}

static RKLLMInput token_input(const int32_t *tokens, size_t count) {
    RKLLMInput input;
    memset(&input, 0, sizeof input);
    input.role = "user";
    input.input_type = RKLLM_INPUT_TOKEN;
    input.token_input.input_ids = tokens;
    input.token_input.n_tokens = count;
    return input;
}

static RKLLMInferParam infer(int mode, int keep, int most) {
    RKLLMInferParam param;
    memset(&param, 0, sizeof param);
    param.mode = mode;
    param.keep_history = keep;
    param.max_new_tokens = most;
    return param;
}

static void reset(Seen *seen, LLMHandle handle) {
    free(seen->values);
    memset(seen, 0, sizeof *seen);
    seen->handle = handle;
}

static int run(LLMHandle handle, RKLLMInput input, RKLLMInferParam param, Seen *seen) {
    return f.run(handle, &input, &param, seen);
}

static int cache_size(LLMHandle handle) {
    int size = -1;
    CHECK(f.get_kv_cache_size(handle, &size) == 0);
    return size;
}

static LLMHandle open_model(const char *model, int context, int batch) {
    LLMHandle handle = NULL;
    RKLLMParam param = f.createDefaultParam();
    param.model_path = model;
    param.max_context_len = context;
    param.max_new_tokens = 64;
    param.temperature = 0;
    param.extend_param.n_batch = (uint8_t)batch;
    RKLLMCallback callback = {.result_callback = on_result};
    CHECK(f.init(&handle, &param, &callback) == 0);
    CHECK(handle != NULL);
    if (!handle) exit(1);
    return handle;
}

static void check_defaults(void) {
    RKLLMParam p = f.createDefaultParam();
    CHECK(p.max_context_len == 512 && p.max_new_tokens == -1 && p.top_k == 40 && p.n_keep == -1);
    CHECK(p.top_p == 0.9f && p.temperature == 0.8f && p.repeat_penalty == 1.1f);
    CHECK(p.frequency_penalty == 0 && p.presence_penalty == 0 && p.mirostat == 0);
    CHECK(p.mirostat_tau == 5.0f && p.mirostat_eta == 0.1f);
    CHECK(p.skip_special_token && !p.ignore_eos_token && !p.is_async);
    CHECK(p.extend_param.embed_flash == 1 && p.extend_param.enabled_cpus_num == 4);
    CHECK(p.extend_param.n_batch == 1 && p.extend_param.use_cross_attn == 0);
}

static void check_refusals(const char *model) {
    RKLLMCallback callback = {.result_callback = on_result};
    RKLLMCallback none = {0};
    LLMHandle handle = (LLMHandle)1;
    RKLLMParam good = f.createDefaultParam();
    good.model_path = model;
#define REFUSED(change)                                    \
    do {                                                   \
        RKLLMParam p = good;                               \
        change;                                            \
        handle = (LLMHandle)1;                             \
        CHECK(f.init(&handle, &p, &callback) == -1);       \
        CHECK(handle == NULL);                             \
    } while (0)
    REFUSED(p.model_path = NULL);
    REFUSED(p.model_path = "/no/such/file.gguf");
    REFUSED(p.model_path = "/proc/self/exe");
    REFUSED(p.model_path = "/tmp");
    REFUSED(p.extend_param.n_batch = 0);
    REFUSED(p.extend_param.n_batch = 101);
    REFUSED(p.n_keep = p.max_context_len);
    REFUSED(p.max_context_len = 1 << 30);
    REFUSED(p.max_context_len = 0);
    REFUSED(p.extend_param.use_cross_attn = 1);
    CHECK(f.init(NULL, &good, &callback) == -1);
    CHECK(f.init(&handle, NULL, &callback) == -1);
    CHECK(f.init(&handle, &good, NULL) == -1);
    CHECK(f.init(&handle, &good, &none) == -1);
    CHECK(f.destroy(NULL) == -1 && f.abort(NULL) == -1 && f.destroy((LLMHandle)0x12345) == -1);
}

static void check_generation(LLMHandle h, Seen *seen) {
    reset(seen, h);
    CHECK(f.is_running(h) == 0 && f.abort(h) == -1);
    CHECK(run(h, text_input("What is the capital of France?"), infer(0, 0, 0), seen) == 0);
    fprintf(stderr, "answer: %s\n", seen->text);
    CHECK(strstr(seen->text, "Paris") != NULL);
    CHECK(seen->n_finish == 1 && seen->n_error == 0);
    CHECK(pthread_equal(seen->thread, pthread_self()));
    CHECK(seen->perf.prefill_tokens > 20 && seen->perf.prefill_time_ms > 0);
    CHECK(seen->perf.generate_tokens == seen->n_tokens && seen->perf.generate_time_ms > 0);
    CHECK(seen->perf.memory_usage_mb > 50);
    int cached = cache_size(h) - seen->perf.prefill_tokens; /* a token at the limit is not computed */
    CHECK(cached == seen->n_tokens || (seen->n_tokens == 64 && cached == 63));
    int prompt = seen->perf.prefill_tokens;

    Seen *again = calloc(1, sizeof *again);
    CHECK(run(h, text_input("What is the capital of France?"), infer(0, 0, 0), again) == 0);
    SAME(again->text, seen->text);
    CHECK(again->perf.prefill_tokens <= prompt); /* whole blocks of 64 come from the cache */
    reset(again, h);
    CHECK(run(h, text_input("What is the capital of France?"), infer(0, 0, 3), again) == 0);
    CHECK(again->n_tokens == 3 && again->perf.generate_tokens == 3 && again->n_finish == 1);
    reset(again, h);
    RKLLMSamplingParam sampling = {40, 0.9f, 1.5f, 1.0f, 0, 0, 0, 5.0f, 0.1f};
    for (sampling.mirostat = 0; sampling.mirostat <= 2; sampling.mirostat++) {
        RKLLMInferParam param = infer(0, 0, 8);
        param.sampling_params = &sampling;
        reset(again, h);
        CHECK(run(h, text_input("Tell me something."), param, again) == 0);
        CHECK(again->n_tokens > 0);
    }
    sampling.mirostat = 3;
    RKLLMInferParam param = infer(0, 0, 8);
    param.sampling_params = &sampling;
    CHECK(run(h, text_input("Hello"), param, again) == -1);
    CHECK(run(h, text_input(NULL), infer(0, 0, 8), again) == -1);
    CHECK(run(h, text_input("Hello"), infer(9, 0, 8), again) == -1);
    RKLLMInput image = text_input("x");
    image.input_type = RKLLM_INPUT_MULTIMODAL;
    CHECK(run(h, image, infer(0, 0, 8), again) == -1);
    image.input_type = 17;
    CHECK(run(h, image, infer(0, 0, 8), again) == -1);
    CHECK(f.run(h, NULL, &param, again) == -1 && f.run(h, &image, NULL, again) == -1);
    CHECK(f.set_cross_attn_params(h, NULL) == -1);
    free(again);
}

static void check_tokens(LLMHandle h, Seen *seen) {
    const int32_t tokens[] = {504, 3575, 282, 4649, 314}; /* The capital of France is */
    const int32_t wrong[] = {1, 1 << 20};
    reset(seen, h);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    CHECK(cache_size(h) == 0);
    CHECK(run(h, token_input(tokens, 5), infer(0, 0, 4), seen) == 0);
    fprintf(stderr, "continued:%s\n", seen->text);
    CHECK(seen->perf.prefill_tokens == 5 && seen->n_tokens == 4);
    CHECK(cache_size(h) == 5 + 3); /* the last token is not computed */
    CHECK(run(h, token_input(wrong, 2), infer(0, 0, 4), seen) == -1);
    CHECK(run(h, token_input(tokens, 0), infer(0, 0, 4), seen) == -1);
    CHECK(run(h, token_input(NULL, 4), infer(0, 0, 4), seen) == -1);

    /* Raw text is the same as its tokens. */
    Seen *raw = calloc(1, sizeof *raw);
    CHECK(f.set_chat_template(h, "", "", "") == 0);
    CHECK(f.set_chat_template(h, NULL, "", "") == -1);
    CHECK(run(h, text_input("The capital of France is"), infer(0, 0, 4), raw) == 0);
    CHECK(raw->n_tokens == 4);
    free(raw);

    int32_t *many = malloc(sizeof(int32_t) * 100000);
    for (int i = 0; i < 100000; i++) many[i] = 504;
    reset(seen, h);
    CHECK(run(h, token_input(many, 100000), infer(0, 0, 4), seen) == -1);
    CHECK(seen->n_tokens == 0);
    CHECK(run(h, token_input(tokens, 5), infer(0, 0, 4), seen) == 0);
    CHECK(seen->n_tokens == 4);
    free(many);
}

static void check_pause(LLMHandle h, Seen *seen) {
    const int32_t tokens[] = {504, 3575, 282, 4649, 314};
    Seen *whole = calloc(1, sizeof *whole);
    CHECK(run(h, token_input(tokens, 5), infer(0, 0, 8), whole) == 0);
    reset(seen, h);
    seen->pause_at = 4;
    CHECK(run(h, token_input(tokens, 5), infer(0, 0, 8), seen) == 0);
    CHECK(seen->n_tokens == 4 && seen->n_finish == 0);
    int size = cache_size(h);
    CHECK(size == 5 + 3);
    int start = 1, end = 3, bad = 99, negative = -1;
    CHECK(f.clear_kv_cache(h, 0, &start, &bad) == -1);
    CHECK(f.clear_kv_cache(h, 0, &negative, &end) == -1);
    CHECK(f.clear_kv_cache(h, 0, &start, NULL) == -1);
    /* Bringing the token delivered last gives what an unpaused run gave. */
    seen->pause_at = 0;
    CHECK(run(h, token_input(seen->tokens + 3, 1), infer(0, 0, 3), seen) == 0);
    CHECK(seen->n_tokens == 7 && seen->perf.prefill_tokens == 1);
    CHECK(memcmp(seen->tokens, whole->tokens, 7 * sizeof(int32_t)) == 0);
    reset(seen, h);
    seen->pause_at = 4;
    CHECK(run(h, token_input(tokens, 5), infer(0, 0, 8), seen) == 0);
    CHECK(f.clear_kv_cache(h, 0, &start, &end) == 0);
    CHECK(cache_size(h) == size - 2);
    seen->pause_at = 0;
    CHECK(run(h, token_input(tokens, 2), infer(0, 0, 2), seen) == 0);
    CHECK(cache_size(h) == size - 2 + 2 + 1);
    CHECK(f.clear_kv_cache(h, 0, &start, &end) == -1); /* no longer paused */
    free(whole);
}

static void *abort_soon(void *handle) {
    /* Presses until it takes effect: the run may not have been entered yet. */
    for (int i = 0; i < 200; i++) {
        if (f.abort(handle) == 0) return NULL;
        usleep(1000);
    }
    CHECK(!"nothing was running");
    return NULL;
}

static void *abort_later(void *handle) {
    usleep(300000);
    CHECK(f.is_running(handle) == 1);
    CHECK(f.abort(handle) == 0);
    return NULL;
}

static void check_abort(LLMHandle h, Seen *seen) {
    pthread_t thread;
    reset(seen, h);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    seen->abort_at = 3;
    CHECK(run(h, text_input("Count to one hundred."), infer(0, 0, 500), seen) == 0);
    CHECK(seen->n_tokens == 3 && seen->n_finish == 1 && seen->n_error == 0);
    reset(seen, h);
    CHECK(run(h, text_input("Say hello."), infer(0, 0, 5), seen) == 0);
    CHECK(seen->n_tokens == 5);

    /* In prefill: far less than the whole prompt is computed. */
    int32_t *many = malloc(sizeof(int32_t) * 2000);
    for (int i = 0; i < 2000; i++) many[i] = 500 + i;
    reset(seen, h);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    pthread_create(&thread, NULL, abort_soon, h);
    CHECK(run(h, token_input(many, 2000), infer(0, 0, 500), seen) == 0);
    pthread_join(thread, NULL);
    clock_gettime(CLOCK_MONOTONIC, &after);
    fprintf(stderr, "aborted prefill: %.0f ms, %d in the cache\n",
            (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6, cache_size(h));
    CHECK(seen->n_finish == 1 && seen->n_tokens < 5 && cache_size(h) < 2000);
    free(many);

    reset(seen, h);
    CHECK(f.abort(h) == -1 && f.is_running(h) == 0);
    CHECK(run(h, text_input("Say hello."), infer(0, 0, 5), seen) == 0);
    CHECK(seen->n_tokens == 5);
}

#define SYSTEM "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
#define USER(text) "<|im_start|>user\n" text "<|im_end|>\n<|im_start|>assistant\n"

/* Two turns with history are what one run over the whole conversation is; `plain` has no template. */
static void check_history(LLMHandle h, LLMHandle plain, Seen *seen) {
    Seen *whole = calloc(1, sizeof *whole);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    reset(seen, h);
    CHECK(run(h, text_input("What is 2+2?"), infer(0, 1, 4), seen) == 0);
    int first = cache_size(h);
    char conversation[4096];
    snprintf(conversation, sizeof conversation, SYSTEM USER("What is 2+2?") "%.2000s<|im_end|>\n" USER("And 3+3?"), seen->text);
    reset(seen, h);
    CHECK(run(h, text_input("And 3+3?"), infer(0, 1, 12), seen) == 0);
    fprintf(stderr, "second turn: %s\n", seen->text);
    CHECK(cache_size(h) > first);
    CHECK(seen->perf.prefill_tokens < first);
    CHECK(run(plain, text_input(conversation), infer(0, 0, 12), whole) == 0);
    SAME(whole->text, seen->text);
    /* Without history the turn stands alone. */
    CHECK(f.clear_kv_cache(plain, 0, NULL, NULL) == 0);
    reset(whole, plain);
    CHECK(run(plain, text_input(SYSTEM USER("And 3+3?")), infer(0, 0, 12), whole) == 0);
    reset(seen, h);
    CHECK(run(h, text_input("And 3+3?"), infer(0, 0, 12), seen) == 0);
    SAME(whole->text, seen->text);
    free(whole);
    CHECK(f.clear_kv_cache(h, 1, NULL, NULL) == 0);
    int system = cache_size(h);
    fprintf(stderr, "system prompt: %d tokens\n", system);
    CHECK(system > 5 && system < first);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    CHECK(cache_size(h) == 0);
    /* A prompt that does not fit is refused, and nothing else changes. */
    char *longest = malloc(40001);
    for (int i = 0; i < 20000; i++) memcpy(longest + 2 * i, " x", 2);
    longest[40000] = 0;
    reset(seen, h);
    CHECK(run(h, text_input(longest), infer(0, 1, 5), seen) == -1);
    CHECK(run(h, text_input("Hello"), infer(0, 1, 5), seen) == 0);
    free(longest);
}

static void check_shift(const char *model, Seen *seen) {
    LLMHandle h = open_model(model, 64, 1);
    reset(seen, h);
    CHECK(f.set_chat_template(h, "", "", "") == 0);
    RKLLMSamplingParam sampling = {40, 0.9f, 1.0f, 1.1f, 0, 0, 0, 5.0f, 0.1f};
    RKLLMInferParam long_run = infer(0, 0, 90);
    long_run.sampling_params = &sampling;
    CHECK(run(h, text_input("Once upon a time, in a land far away, there lived"), long_run, seen) == 0);
    CHECK(seen->n_finish == 1);
    CHECK(cache_size(h) <= 64);
    fprintf(stderr, "%d tokens in a context of 64\n", seen->n_tokens);
    CHECK(f.destroy(h) == 0);
    CHECK(f.destroy(h) == -1);
    CHECK(run(h, text_input("x"), infer(0, 0, 1), seen) == -1);
}

static void check_values(LLMHandle h, Seen *seen) {
    const int32_t tokens[] = {504, 3575, 282, 4649, 314};
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    RKLLMInferParam greedy = infer(0, 0, 1);
    RKLLMSamplingParam sampling = {1, 1.0f, 0.0f, 1.0f, 0, 0, 0, 5.0f, 0.1f};
    greedy.sampling_params = &sampling;
    reset(seen, h);
    CHECK(run(h, token_input(tokens, 5), greedy, seen) == 0);
    int32_t expected = seen->tokens[0];
    reset(seen, h);
    CHECK(run(h, token_input(tokens, 5), infer(RKLLM_INFER_GET_LOGITS, 0, 0), seen) == 0);
    CHECK(seen->values && seen->rows == 5 && seen->width == 49152 && seen->n_finish == 1);
    if (seen->values) {
        const float *last = seen->values + 4 * (size_t)seen->width;
        int best = 0;
        for (int i = 1; i < seen->width; i++) {
            if (last[i] > last[best]) best = i;
        }
        CHECK(best == expected);
    }
    reset(seen, h);
    CHECK(run(h, token_input(tokens, 5), infer(RKLLM_INFER_GET_LAST_HIDDEN_LAYER, 0, 0), seen) == 0);
    CHECK(seen->values && seen->rows == 5 && seen->width == 576 && seen->n_finish == 1);
    float sum = 0;
    for (int i = 0; seen->values && i < seen->rows * seen->width; i++) {
        CHECK(isfinite(seen->values[i]));
        sum += fabsf(seen->values[i]);
    }
    CHECK(sum > 1);
    /* Embeddings go in where tokens do; here only their shape is checked. */
    float *embeddings = seen->values;
    seen->values = NULL;
    reset(seen, h);
    RKLLMInput input;
    memset(&input, 0, sizeof input);
    input.input_type = RKLLM_INPUT_EMBED;
    input.embed_input.embed = embeddings;
    input.embed_input.n_tokens = 5;
    CHECK(run(h, input, infer(0, 0, 3), seen) == 0);
    CHECK(seen->n_tokens > 0 && seen->perf.prefill_tokens == 5);
    free(embeddings);
    reset(seen, h);
    CHECK(run(h, token_input(tokens, 5), greedy, seen) == 0);
    CHECK(seen->n_tokens == 1 && seen->tokens[0] == expected);
}

static void check_prompt_cache(LLMHandle h, Seen *seen) {
    int32_t tokens[70];
    for (int i = 0; i < 70; i++) tokens[i] = (const int32_t[]){504, 3575, 282, 4649, 314}[i % 5];
    char path[] = "/tmp/abi_demo_cache_XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0);
    RKLLMPromptCacheParam cache = {1, path};
    RKLLMInferParam saving = infer(0, 0, 6);
    saving.prompt_cache_params = &cache;
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    reset(seen, h);
    CHECK(run(h, token_input(tokens, 70), saving, seen) == 0);
    CHECK(seen->perf.prefill_tokens == 70);
    Seen *again = calloc(1, sizeof *again);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    CHECK(f.load_prompt_cache(h, path) == 0);
    CHECK(cache_size(h) == 70);
    CHECK(f.load_prompt_cache(h, path) == -1);
    CHECK(run(h, token_input(tokens, 70), infer(0, 0, 6), again) == 0);
    CHECK(again->perf.prefill_tokens == 70 - 64);
    CHECK(again->n_tokens == 6 && memcmp(again->tokens, seen->tokens, 6 * sizeof(int32_t)) == 0);
    CHECK(f.release_prompt_cache(h) == 0 && cache_size(h) == 0);
    CHECK(ftruncate(file, 100) == 0);
    CHECK(f.load_prompt_cache(h, path) == -1);
    CHECK(f.load_prompt_cache(h, "/no/such/cache.bin") == -1);
    CHECK(f.load_prompt_cache(h, NULL) == -1);
    RKLLMLoraAdapter adapter = {"/no/such/lora.gguf", "style", 1.0f};
    CHECK(f.load_lora(h, &adapter) == -1);
    RKLLMLoraParam name = {"style"};
    RKLLMInferParam styled = infer(0, 0, 2);
    styled.lora_params = &name;
    CHECK(run(h, token_input(tokens, 70), styled, again) == -1);
    CHECK(run(h, token_input(tokens, 70), infer(0, 0, 2), again) == 0);
    close(file);
    unlink(path);
    free(again);
}

/* n_batch rows at once, each equal to a run of its own. */
typedef struct {
    int32_t tokens[3][32];
    int count[3], ended[3], n_finish;
} Batch;

static int on_batch(RKLLMResult *results, void *userdata, int state) {
    Batch *batch = userdata;
    if (state == RKLLM_RUN_FINISH) {
        batch->n_finish++;
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        if (results[i].token_id < 0) {
            batch->ended[i] = 1;
        } else if (batch->count[i] < 32) {
            CHECK(!batch->ended[i]);
            batch->tokens[i][batch->count[i]++] = results[i].token_id;
        }
    }
    return 0;
}

static void check_batch(const char *model, LLMHandle single, Seen *seen) {
    const char *prompts[] = {"What is 2 + 2?", "Name a colour. One word only.", "What is the capital of Italy?"};
    RKLLMParam param = f.createDefaultParam();
    param.model_path = model;
    param.max_context_len = 256;
    param.temperature = 0;
    param.extend_param.n_batch = 3;
    RKLLMCallback callback = {.result_callback = on_batch};
    LLMHandle h = NULL;
    CHECK(f.init(&h, &param, &callback) == 0);
    if (!h) return;
    RKLLMInput inputs[3] = {text_input(prompts[0]), text_input(prompts[1]), text_input(prompts[2])};
    RKLLMInferParam most = infer(0, 0, 16);
    Batch *batch = calloc(1, sizeof *batch);
    CHECK(f.run(h, inputs, &most, batch) == 0);
    CHECK(batch->n_finish == 1);
    int sizes[3] = {0};
    CHECK(f.get_kv_cache_size(h, sizes) == 0);
    for (int i = 0; i < 3; i++) {
        reset(seen, single);
        CHECK(f.clear_kv_cache(single, 0, NULL, NULL) == 0);
        CHECK(run(single, text_input(prompts[i]), infer(0, 0, 16), seen) == 0);
        CHECK(seen->n_tokens == batch->count[i]);
        CHECK(memcmp(seen->tokens, batch->tokens[i], sizeof(int32_t) * (size_t)seen->n_tokens) == 0);
        CHECK(sizes[i] >= 20);
    }
    CHECK(f.destroy(h) == 0);
    free(batch);
}

static void check_async(LLMHandle h, Seen *seen) {
    reset(seen, h);
    RKLLMInput input = text_input("Say hello.");
    RKLLMInferParam param = infer(0, 0, 5);
    CHECK(f.run_async(h, &input, &param, seen) == 0);
    CHECK(run(h, text_input("x"), infer(0, 0, 1), seen) == -1); /* one at a time */
    memset(&input, 0xFF, sizeof input);
    while (f.is_running(h) == 1) usleep(1000);
    CHECK(seen->n_tokens == 5 && seen->n_finish == 1);
    CHECK(!pthread_equal(seen->thread, pthread_self()));
}

static void check_table(LLMHandle h, Seen *seen) {
    const char *text = "Invent a word and explain it.";
    CHECK(table->vocab_size(h) == 49152 && table->embd_size(h) == 576 && table->context_limit(h) == 8192);
    CHECK(f.clear_kv_cache(h, 0, NULL, NULL) == 0);
    RKLLMSamplingParam sampling = {40, 0.95f, 1.5f, 1.0f, 0, 0, 0, 5.0f, 0.1f};
    RKLLMInferParam wild = infer(0, 0, 16);
    wild.sampling_params = &sampling;
    Seen *again = calloc(1, sizeof *again);
    CHECK(table->set_seed(h, 1, 42) == 0);
    reset(seen, h);
    CHECK(run(h, text_input(text), wild, seen) == 0);
    CHECK(table->count_tokens(h, text, strlen(text), "user") == seen->perf.prefill_tokens);
    CHECK(table->count_tokens(h, text, strlen(text), NULL) == seen->perf.prefill_tokens);
    CHECK(table->count_tokens(h, text, 6, "user") < seen->perf.prefill_tokens);
    CHECK(table->count_tokens(h, text, 6, "nobody") == -1);
    CHECK(run(h, text_input(text), wild, again) == 0);
    SAME(again->text, seen->text);
    CHECK(table->set_seed(h, 1, 43) == 0);
    reset(again, h);
    CHECK(run(h, text_input(text), wild, again) == 0);
    CHECK(strcmp(again->text, seen->text) != 0);
    const int32_t ids[] = {504, 3575, 282, 4649, 314};
    int32_t out[6] = {-1, -1, -1, -1, -1, -1};
    const char *words = "The capital of France is, beyond the length";
    CHECK(table->tokenize(h, words, 24, 0, out, 4) == 5 && out[0] == -1);
    CHECK(table->tokenize(h, words, 24, 0, out, 6) == 5 && out[5] == -1);
    CHECK(memcmp(out, ids, sizeof ids) == 0);
    CHECK(table->tokenize(h, words, 24, 0, NULL, 0) == 5 && table->tokenize(h, NULL, 0, 0, NULL, 0) == 0);
    CHECK(table->tokenize(h, words, 24, 0, NULL, 6) == -1 && table->tokenize(h, NULL, 1, 0, out, 6) == -1);
    CHECK(table->tokenize(NULL, words, 24, 0, out, 6) == -1);
    CHECK(table->template_problem(h, NULL, 0) == 0 && table->template_problem(NULL, NULL, 0) == -1);
    char again_text[25] = "";
    CHECK(table->detokenize(h, ids, 5, 0, again_text, 24) == 24 && memcmp(again_text, words, 24) == 0);
    CHECK(table->detokenize(h, ids, 5, 0, NULL, 0) == 24 && table->detokenize(NULL, ids, 5, 0, NULL, 0) == -1);
    CHECK(table->end_pause(h) == 0 && table->end_pause(NULL) == -1);
    CHECK(table->set_seed(h, 0, 0) == 0 && table->set_seed(NULL, 0, 0) == -1);
    CHECK(table->set_reuse(h, 0) == 0 && table->set_reuse(h, 3) == -1 && table->set_reuse(NULL, 0) == -1);
    CHECK(table->prompt_figures(NULL, NULL, 0) == -1 && table->prompt_figures(h, NULL, 0) == 1);
    CHECK(table->vocabulary(NULL, NULL, 0) == -1 && table->vocabulary(h, NULL, 0) > 49152 * 5);
    CHECK(table->set_logits_processor(h, NULL) == 0 && table->set_logits_processor(NULL, NULL) == -1);
    free(again);
}

/* Characters of several tokens: waiting calls without text, then whole characters only. */
static void check_characters(LLMHandle plain, Seen *seen) {
    reset(seen, plain);
    RKLLMSamplingParam sampling = {1, 1.0f, 0.0f, 1.0f, 0, 0, 0, 5.0f, 0.1f};
    RKLLMInferParam greedy = infer(0, 0, 24);
    greedy.sampling_params = &sampling;
    const char *text = "\xF0\x9F\x90\x88 \xF0\x9F\x90\x88 \xF0\x9F\x90\x88 \xF0\x9F\x90\x88 \xF0\x9F\x90\x88";
    CHECK(run(plain, text_input(text), greedy, seen) == 0);
    fprintf(stderr, "%d tokens, %d waiting: %s\n", seen->n_tokens, seen->n_waiting, seen->text);
    CHECK(seen->n_tokens == 24 && seen->n_waiting > 0);
    CHECK(strstr(seen->text, "\xF0\x9F\x90\x88") != NULL);
}

static void *one_model(void *model) {
    Seen *seen = calloc(1, sizeof *seen);
    LLMHandle h = open_model(model, 256, 1);
    for (int i = 0; i < 3; i++) {
        reset(seen, h);
        CHECK(run(h, text_input("What is the capital of France?"), infer(0, 0, 24), seen) == 0);
        CHECK(strstr(seen->text, "Paris") != NULL);
    }
    CHECK(f.destroy(h) == 0);
    free(seen);
    return NULL;
}

static void check_threads(const char *model) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, one_model, (void *)model);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void check_destroy_while_running(const char *model, Seen *seen) {
    LLMHandle h = open_model(model, 512, 1);
    reset(seen, h);
    RKLLMInput input = text_input("Write a long story.");
    RKLLMInferParam param = infer(0, 0, 400);
    CHECK(f.run_async(h, &input, &param, seen) == 0);
    usleep(100000);
    CHECK(f.destroy(h) == 0);
    CHECK(seen->n_finish == (seen->n_tokens > 0)); /* no call at all if it had not begun */
    CHECK(f.abort(h) == -1 && f.is_running(h) == -1);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: abi_demo <library> <model.gguf>\n");
        return 2;
    }
    const char *model = argv[2];
    pthread_t thread;
    Seen *seen = calloc(1, sizeof *seen);
    open_library(argv[1]);
    check_defaults();
    check_refusals(model);
    LLMHandle h = open_model(model, 2048, 1);
    LLMHandle plain = open_model(model, 512, 1);
    CHECK(f.set_chat_template(plain, "", "", "") == 0);
    check_generation(h, seen);
    check_history(h, plain, seen);
    check_characters(plain, seen);
    CHECK(f.destroy(plain) == 0);
    check_table(h, seen);
    check_abort(h, seen);
    reset(seen, h);
    pthread_create(&thread, NULL, abort_later, h);
    CHECK(run(h, text_input("Write a very long story about the sea."), infer(0, 0, 1500), seen) == 0);
    pthread_join(thread, NULL);
    CHECK(seen->n_finish == 1);
    check_async(h, seen);
    LLMHandle batch_reference = open_model(model, 256, 1);
    check_batch(model, batch_reference, seen);
    CHECK(f.set_function_tools(h, "You can call functions.", "[]", "tool_response") == 0);
    CHECK(f.set_function_tools(h, "", "not json", "tool_response") == -1);
    check_tokens(h, seen); /* replaces the template */
    CHECK(f.set_function_tools(h, "", "[]", "") == -1);
    check_pause(h, seen);
    check_values(h, seen);
    check_prompt_cache(h, seen);
    CHECK(f.destroy(h) == 0 && f.destroy(batch_reference) == 0);
    check_shift(model, seen);
    check_threads(model);
    check_destroy_while_running(model, seen);
    free(seen->values);
    free(seen);
    fprintf(stderr, failures ? "%d checks failed\n" : "all checks passed\n", failures);
    return failures != 0;
}
