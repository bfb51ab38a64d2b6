/* The C ABI of RKLLM 1.3.0, declared anew from its layouts: no text of the vendor's header. */
#ifndef RKLLM_RS_TESTS_RKLLM_H
#define RKLLM_RS_TESTS_RKLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void *LLMHandle;

enum { RKLLM_RUN_NORMAL, RKLLM_RUN_WAITING, RKLLM_RUN_FINISH, RKLLM_RUN_ERROR };
enum { RKLLM_INPUT_PROMPT, RKLLM_INPUT_TOKEN, RKLLM_INPUT_EMBED, RKLLM_INPUT_MULTIMODAL };
enum { RKLLM_INFER_GENERATE, RKLLM_INFER_GET_LAST_HIDDEN_LAYER, RKLLM_INFER_GET_LOGITS };

typedef struct {
    int32_t base_domain_id;
    int8_t embed_flash;
    int8_t enabled_cpus_num;
    uint32_t enabled_cpus_mask;
    uint8_t n_batch;
    int8_t use_cross_attn;
    uint8_t reserved[104];
} RKLLMExtendParam;

typedef struct {
    const char *model_path;
    int32_t max_context_len;
    int32_t max_new_tokens;
    int32_t top_k;
    int32_t n_keep;
    float top_p;
    float temperature;
    float repeat_penalty;
    float frequency_penalty;
    float presence_penalty;
    int32_t mirostat;
    float mirostat_tau;
    float mirostat_eta;
    bool skip_special_token;
    bool ignore_eos_token;
    bool is_async;
    RKLLMExtendParam extend_param;
} RKLLMParam;

typedef struct {
    int32_t top_k;
    float top_p;
    float temperature;
    float repeat_penalty;
    float frequency_penalty;
    float presence_penalty;
    int32_t mirostat;
    float mirostat_tau;
    float mirostat_eta;
} RKLLMSamplingParam;

typedef struct {
    const char *lora_adapter_path;
    const char *lora_adapter_name;
    float scale;
} RKLLMLoraAdapter;

typedef struct {
    const float *embed;
    size_t n_tokens;
} RKLLMEmbedInput;

typedef struct {
    const int32_t *input_ids;
    size_t n_tokens;
} RKLLMTokenInput;

typedef struct {
    const char *prompt;
    struct {
        const float *image_embed;
        size_t n_image_tokens;
        size_t n_image;
        const char *image_start;
        const char *image_end;
        const char *image_content;
        size_t image_width;
        size_t image_height;
    } image;
    struct {
        const float *video_embed;
        size_t n_frame_tokens;
        size_t n_frame_per_video;
        size_t n_video;
        const char *video_start;
        const char *video_end;
        const char *video_content;
        size_t frame_width;
        size_t frame_height;
    } video;
} RKLLMMultiModalInput;

typedef struct {
    const char *role;
    bool enable_thinking;
    int input_type;
    union {
        const char *prompt_input;
        RKLLMEmbedInput embed_input;
        RKLLMTokenInput token_input;
        RKLLMMultiModalInput multimodal_input;
    };
} RKLLMInput;

typedef struct {
    const char *lora_adapter_name;
} RKLLMLoraParam;

typedef struct {
    int save_prompt_cache;
    const char *prompt_cache_path;
} RKLLMPromptCacheParam;

typedef struct {
    const float *encoder_k_cache;
    const float *encoder_v_cache;
    const float *encoder_mask;
    const int32_t *encoder_pos;
    int num_tokens;
} RKLLMCrossAttnParam;

typedef struct {
    int mode;
    const RKLLMLoraParam *lora_params;
    const RKLLMPromptCacheParam *prompt_cache_params;
    const RKLLMSamplingParam *sampling_params;
    int keep_history;
    int32_t max_new_tokens;
} RKLLMInferParam;

typedef struct {
    const float *hidden_states;
    int embd_size;
    int num_tokens;
} RKLLMResultLastHiddenLayer;

typedef struct {
    const float *logits;
    int vocab_size;
    int num_tokens;
} RKLLMResultLogits;

typedef struct {
    float prefill_time_ms;
    int prefill_tokens;
    float generate_time_ms;
    int generate_tokens;
    float memory_usage_mb;
} RKLLMPerfStat;

typedef struct {
    const char *text;
    int32_t token_id;
    RKLLMResultLastHiddenLayer last_hidden_layer;
    RKLLMResultLogits logits;
    RKLLMPerfStat perf;
} RKLLMResult;

typedef int (*LLMResultCallback)(RKLLMResult *result, void *userdata, int state);
typedef int (*LLMTokenizerCallback)(void *userdata, const char *text, int32_t length, int32_t *tokens,
                                    int32_t capacity);
typedef int (*LLMGetEmbedCallback)(void *userdata, int32_t *tokens, uint64_t count, void *out,
                                   uint64_t bytes);

typedef struct {
    LLMResultCallback result_callback;
    void *result_userdata;
    LLMTokenizerCallback tokenizer_callback;
    void *tokenizer_userdata;
    LLMGetEmbedCallback embed_callback;
    void *embed_userdata;
} RKLLMCallback;

#define RKLLM_SIZE(type, on64, on32) \
    _Static_assert(sizeof(type) == (sizeof(void *) == 8 ? (on64) : (on32)), "size of " #type)
RKLLM_SIZE(RKLLMParam, 184, 176);
RKLLM_SIZE(RKLLMExtendParam, 120, 120);
RKLLM_SIZE(RKLLMSamplingParam, 36, 36);
RKLLM_SIZE(RKLLMInput, 160, 84);
RKLLM_SIZE(RKLLMMultiModalInput, 144, 72);
RKLLM_SIZE(RKLLMTokenInput, 16, 8);
RKLLM_SIZE(RKLLMEmbedInput, 16, 8);
RKLLM_SIZE(RKLLMInferParam, 40, 24);
RKLLM_SIZE(RKLLMLoraParam, 8, 4);
RKLLM_SIZE(RKLLMLoraAdapter, 24, 12);
RKLLM_SIZE(RKLLMPromptCacheParam, 16, 8);
RKLLM_SIZE(RKLLMCrossAttnParam, 40, 20);
RKLLM_SIZE(RKLLMResult, 72, 52);
RKLLM_SIZE(RKLLMResultLastHiddenLayer, 16, 12);
RKLLM_SIZE(RKLLMResultLogits, 16, 12);
RKLLM_SIZE(RKLLMPerfStat, 20, 20);
RKLLM_SIZE(RKLLMCallback, 48, 24);

/* The 15 functions, as pointers: the library is opened at run time. */
typedef struct {
    RKLLMParam (*createDefaultParam)(void);
    int (*init)(LLMHandle *, RKLLMParam *, RKLLMCallback *);
    int (*run)(LLMHandle, RKLLMInput *, RKLLMInferParam *, void *);
    int (*run_async)(LLMHandle, RKLLMInput *, RKLLMInferParam *, void *);
    int (*abort)(LLMHandle);
    int (*is_running)(LLMHandle);
    int (*destroy)(LLMHandle);
    int (*load_lora)(LLMHandle, RKLLMLoraAdapter *);
    int (*load_prompt_cache)(LLMHandle, const char *);
    int (*release_prompt_cache)(LLMHandle);
    int (*clear_kv_cache)(LLMHandle, int, int *, int *);
    int (*set_chat_template)(LLMHandle, const char *, const char *, const char *);
    int (*get_kv_cache_size)(LLMHandle, int *);
    int (*set_function_tools)(LLMHandle, const char *, const char *, const char *);
    int (*set_cross_attn_params)(LLMHandle, RKLLMCrossAttnParam *);
} RKLLMFunctions;

#endif
