/* A runtime that computes nothing: the C functions of RKLLM 1.3.0 as far as a stream needs them.
 *
 * A run is described by its prompt: "<tokens> <microseconds between two> <text of each>"; one that asks for
 * rows by "<rows> <width> <microseconds until they come>", of which the last may be missing. The time at which a
 * token or the rows are handed to the callback is kept in an array that the measuring program reads; with rows,
 * the second number is the time after it. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { PROMPT = 0 };
enum { GENERATE = 0, HIDDEN = 1 };
enum { NORMAL = 0, FINISH = 2 };
enum { ROOM = 1 << 16 };

struct param {
    const char *model_path;
    int32_t max_context_len, max_new_tokens, top_k, n_keep;
    float top_p, temperature, repeat_penalty, frequency_penalty, presence_penalty;
    int32_t mirostat;
    float mirostat_tau, mirostat_eta;
    uint8_t skip_special_token, ignore_eos_token, is_async;
    struct {
        int32_t base_domain_id;
        int8_t embed_flash, enabled_cpus_num;
        uint32_t enabled_cpus_mask;
        uint8_t n_batch;
        int8_t use_cross_attn;
        uint8_t reserved[104];
    } extend;
};

struct input {
    const char *role;
    uint8_t enable_thinking;
    int type;
    union {
        const char *prompt;
        uint64_t room[18];
    } u;
};

struct result {
    const char *text;
    int32_t token_id;
    struct { const float *rows; int width, count; } hidden, logits;
    struct { float prefill_ms; int prefill; float generate_ms; int generate; float megabytes; } perf;
};

typedef int (*result_callback)(struct result *, void *, int);

struct callbacks {
    result_callback result;
    void *rest[5];
};

struct model {
    result_callback result;
    atomic_int stop;
};

_Static_assert(sizeof(struct param) == 184, "RKLLMParam of 1.3.0");
_Static_assert(sizeof(struct input) == 160, "RKLLMInput of 1.3.0");
_Static_assert(sizeof(struct result) == 72, "RKLLMResult of 1.3.0");

EXPORT const char null_banner[] = "RKLLM SDK (version: 1.3.0 | target: Linux | build: null)";

/* When each of the last run's tokens was handed over, if the run was paced; of others the first. */
static int64_t own_stamps[ROOM];
static int64_t *null_stamps = own_stamps;

/* The measuring program may be another process than this: both map the file that it names. */
__attribute__((constructor)) static void map_stamps(void)
{
    const char *path = getenv("RKLLM_NULL_STAMPS");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return;
    }
    void *shared = mmap(NULL, sizeof own_stamps, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED) {
        null_stamps = shared;
    }
}

static int64_t now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void sleep_until(int64_t at)
{
    struct timespec until = {.tv_sec = at / 1000000000, .tv_nsec = at % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
    }
}

EXPORT struct param rkllm_createDefaultParam(void)
{
    struct param param = {
        .max_context_len = 1 << 24,
        .max_new_tokens = -1,
        .top_k = 40,
        .top_p = 0.9F,
        .temperature = 0.8F,
        .repeat_penalty = 1.1F,
        .mirostat_tau = 5.0F,
        .mirostat_eta = 0.1F,
        .extend = {.enabled_cpus_num = 4, .enabled_cpus_mask = 0xF0, .n_batch = 1},
    };
    return param;
}

EXPORT int rkllm_init(void **handle, struct param *param, struct callbacks *callbacks)
{
    (void)param;
    struct model *model = calloc(1, sizeof *model);
    if (model == NULL) {
        return -1;
    }
    model->result = callbacks->result;
    *handle = model;
    return 0;
}

/* Rows that every run shows: written once, so that they are as warm as a model's own output. */
static float *warm_rows(size_t count)
{
    static float *rows;
    static size_t room;
    if (room < count) {
        free(rows);
        rows = malloc(count * sizeof *rows);
        room = rows == NULL ? 0 : count;
        for (size_t at = 0; at < room; at++) {
            rows[at] = (float)at;
        }
    }
    return rows;
}

/* The floor: nanoseconds of one memcpy of as many floats, from warm memory into warm memory. */
EXPORT int64_t null_memcpy(size_t count)
{
    static float *to;
    static size_t room;
    const float *from = warm_rows(count);
    if (room < count) {
        free(to);
        to = malloc(count * sizeof *to);
        room = count;
        memset(to, 1, count * sizeof *to);
    }
    int64_t before = now();
    memcpy(to, from, count * sizeof *to);
    int64_t after = now();
    /* So that no compiler leaves the copy out. */
    __asm__ volatile("" : : "r"(to) : "memory");
    return after - before;
}

/* The floor of rows that another thread asked for: a thread copies them as `null_memcpy` does and wakes the one
 * that asked, which sleeps meanwhile. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t asked, done;
    size_t count;
    int64_t began;
} hand = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void *copy_for_others(void *nothing)
{
    (void)nothing;
    pthread_mutex_lock(&hand.lock);
    for (;;) {
        while (hand.count == 0) {
            pthread_cond_wait(&hand.asked, &hand.lock);
        }
        size_t count = hand.count;
        pthread_mutex_unlock(&hand.lock);
        int64_t began = now();
        null_memcpy(count);
        pthread_mutex_lock(&hand.lock);
        hand.began = began;
        hand.count = 0;
        pthread_cond_signal(&hand.done);
    }
    return NULL;
}

/* Nanoseconds from the beginning of the copy until who asked for it is awake. */
EXPORT int64_t null_handed_over(size_t count)
{
    static pthread_t thread;
    static int started;
    if (!started) {
        started = 1;
        if (pthread_create(&thread, NULL, copy_for_others, NULL) != 0) {
            abort();
        }
    }
    pthread_mutex_lock(&hand.lock);
    hand.count = count;
    pthread_cond_signal(&hand.asked);
    while (hand.count != 0) {
        pthread_cond_wait(&hand.done, &hand.lock);
    }
    int64_t after = now(), began = hand.began;
    pthread_mutex_unlock(&hand.lock);
    return after - began;
}

static int show_rows(struct model *model, int mode, const char *prompt, void *userdata)
{
    char *rest;
    int rows = (int)strtol(prompt, &rest, 10), width = (int)strtol(rest, &rest, 10);
    struct result result = {.token_id = -1};
    int64_t pause = strtol(rest, &rest, 10) * 1000;
    const float *floats = warm_rows((size_t)rows * (size_t)width);
    if (mode == HIDDEN) {
        result.hidden.rows = floats, result.hidden.width = width, result.hidden.count = rows;
    } else {
        result.logits.rows = floats, result.logits.width = width, result.logits.count = rows;
    }
    if (pause > 0) {
        sleep_until(now() + pause);
    }
    null_stamps[0] = now();
    model->result(&result, userdata, NORMAL);
    null_stamps[1] = now();
    struct result last = {.text = NULL};
    model->result(&last, userdata, FINISH);
    return 0;
}

/* The answer is the text's first line, in tokens of so many bytes. */
static int give_back(struct model *model, const char *text, size_t size, void *userdata)
{
    char *buffer = malloc(size + 1);
    if (buffer == NULL) {
        return -1;
    }
    struct result result = {.text = buffer};
    size_t left = strcspn(text, "\n");
    while (left > 0) {
        size_t length = left < size ? left : size;
        memcpy(buffer, text, length);
        buffer[length] = '\0';
        text += length, left -= length, result.token_id++;
        if (model->result(&result, userdata, NORMAL) == 1) {
            break;
        }
    }
    result.text = NULL;
    model->result(&result, userdata, FINISH);
    free(buffer);
    return 0;
}

EXPORT int rkllm_run(void *handle, struct input *input, int *infer, void *userdata)
{
    struct model *model = handle;
    if (input->type != PROMPT) {
        return -1;
    }
    /* The mode is the first field of RKLLMInferParam. */
    if (*infer != GENERATE) {
        return show_rows(model, *infer, input->u.prompt, userdata);
    }
    char *rest;
    long tokens = strtol(input->u.prompt, &rest, 10);
    int64_t step = strtol(rest, &rest, 10) * 1000;
    const char *text = *rest == ' ' ? rest + 1 : rest;
    if (tokens < 0) {
        return give_back(model, text, (size_t)-tokens, userdata);
    }
    /* Short, so that it is copied to the stack of this thread: real tokens come from warm memory. */
    char buffer[64];
    strncpy(buffer, text, sizeof buffer - 1);
    buffer[sizeof buffer - 1] = '\0';

    atomic_store(&model->stop, 0);
    struct result result = {.text = buffer};
    int64_t due = now();
    for (long at = 0; at < tokens; at++) {
        if (atomic_load_explicit(&model->stop, memory_order_relaxed)) {
            break;
        }
        if (step > 0) {
            due += step;
            sleep_until(due);
        }
        if ((step > 0 || at == 0) && at < ROOM) {
            null_stamps[at] = now();
        }
        result.token_id = (int32_t)at;
        if (model->result(&result, userdata, NORMAL) == 1) {
            return 0;
        }
    }
    result.text = NULL;
    model->result(&result, userdata, FINISH);
    return 0;
}

EXPORT int rkllm_abort(void *handle)
{
    atomic_store(&((struct model *)handle)->stop, 1);
    return 0;
}

EXPORT int rkllm_destroy(void *handle)
{
    free(handle);
    return 0;
}

/* Nothing is put around a prompt anyway: chats turn the template off. */
EXPORT int rkllm_set_chat_template(void *handle, const char *system, const char *prefix, const char *postfix)
{
    (void)handle, (void)system, (void)prefix, (void)postfix;
    return 0;
}

#define UNUSED(name) EXPORT int name(void) { return -1; }
UNUSED(rkllm_load_lora)
UNUSED(rkllm_run_async)
UNUSED(rkllm_is_running)
UNUSED(rkllm_load_prompt_cache)
UNUSED(rkllm_release_prompt_cache)
UNUSED(rkllm_clear_kv_cache)
UNUSED(rkllm_get_kv_cache_size)
UNUSED(rkllm_set_function_tools)
UNUSED(rkllm_set_cross_attn_params)
