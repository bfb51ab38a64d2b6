//! The sampler beside llama.cpp's own chain of samplers, with the same settings.
#![allow(unsafe_code, reason = "calls llama.cpp")]

use llama_cpp_sys_2 as sys;
use rkllm_text::sampler::{Sampler, Sampling};

const PLAIN: Sampling = Sampling {
    top_k: 0,
    top_p: 1.0,
    temperature: 1.0,
    repeat_penalty: 1.0,
    frequency_penalty: 0.0,
    presence_penalty: 0.0,
    mirostat: 0,
    mirostat_tau: 5.0,
    mirostat_eta: 0.1,
    min_p: 0.0,
    typical_p: 1.0,
};
const TOKENS: i32 = 48;
const DRAWS: usize = 60_000;
const BEFORE: [i32; 6] = [3, 7, 7, 7, 20, 3];

/// Logits like those of a model: few likely ones, and a long tail.
fn logits() -> Vec<f32> {
    let of = |at: i32| 4.0 * (at as f32 * 1.7).sin() + 2.0 * (at as f32 * 0.31).cos();
    (0..TOKENS).map(of).collect()
}

/// The probabilities that llama.cpp's chain leaves, in its usual order.
fn of_llama(s: Sampling) -> Vec<f64> {
    let mut data: Vec<sys::llama_token_data> = (0..)
        .zip(logits())
        .map(|(id, logit)| sys::llama_token_data { id, logit, p: 0.0 })
        .collect();
    let mut candidates = sys::llama_token_data_array {
        data: data.as_mut_ptr(),
        size: data.len(),
        selected: -1,
        sorted: false,
    };
    // SAFETY: the chain owns what is added to it, and is freed once; the candidates outlive its use, which
    // writes within their size.
    unsafe {
        let chain = sys::llama_sampler_chain_init(sys::llama_sampler_chain_default_params());
        for one in [
            sys::llama_sampler_init_penalties(
                TOKENS,
                64,
                s.repeat_penalty,
                s.frequency_penalty,
                s.presence_penalty,
            ),
            sys::llama_sampler_init_top_k(s.top_k),
            sys::llama_sampler_init_typical(s.typical_p, 1),
            sys::llama_sampler_init_top_p(s.top_p, 1),
            sys::llama_sampler_init_min_p(s.min_p, 1),
            sys::llama_sampler_init_temp(s.temperature),
        ] {
            sys::llama_sampler_chain_add(chain, one);
        }
        for token in BEFORE {
            sys::llama_sampler_accept(chain, token);
        }
        sys::llama_sampler_apply(chain, &raw mut candidates);
        sys::llama_sampler_free(chain);
    }
    let kept = &data[..candidates.size];
    let top = kept.iter().map(|one| one.logit).fold(f32::MIN, f32::max);
    let mut shares = vec![0.0; TOKENS as usize];
    for one in kept {
        shares[one.id as usize] = f64::from(one.logit - top).exp();
    }
    let total: f64 = shares.iter().sum();
    shares.iter().map(|share| share / total).collect()
}

/// How often ours draws each.
fn of_ours(settings: Sampling) -> Vec<f64> {
    let mut sampler = Sampler::new(settings, Some(5));
    for token in BEFORE {
        sampler.accept(token);
    }
    let mut shares = vec![0.0; TOKENS as usize];
    for _ in 0..DRAWS {
        shares[sampler.sample(&mut logits()) as usize] += 1.0 / DRAWS as f64;
    }
    shares
}

#[test]
fn it_draws_as_llama_cpp_does() {
    let cases = [
        PLAIN,
        Sampling {
            temperature: 0.6,
            ..PLAIN
        },
        Sampling { top_k: 7, ..PLAIN },
        Sampling {
            top_p: 0.8,
            temperature: 1.7,
            ..PLAIN
        },
        Sampling {
            min_p: 0.2,
            temperature: 2.0,
            ..PLAIN
        },
        Sampling {
            typical_p: 0.6,
            ..PLAIN
        },
        Sampling {
            typical_p: 0.2,
            top_k: 20,
            ..PLAIN
        },
        Sampling {
            repeat_penalty: 1.4,
            frequency_penalty: 0.3,
            presence_penalty: 0.5,
            ..PLAIN
        },
        Sampling {
            top_k: 30,
            typical_p: 0.95,
            top_p: 0.9,
            min_p: 0.05,
            temperature: 0.8,
            repeat_penalty: 1.1,
            ..PLAIN
        },
    ];
    for settings in cases {
        let (theirs, ours) = (of_llama(settings), of_ours(settings));
        let far: f64 = theirs.iter().zip(&ours).map(|(a, b)| (a - b).abs()).sum();
        // As far as so many draws of so many tokens may stray.
        assert!(far < 0.03, "{settings:?}: {far}\n{theirs:?}\n{ours:?}");
        for (token, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            assert!(*theirs > 0.0 || *ours <= 0.0, "{settings:?} draws {token}");
        }
    }
}

#[test]
fn greedy_takes_what_llama_cpp_finds_likeliest() {
    let penalised = Sampling {
        repeat_penalty: 1.4,
        presence_penalty: 0.5,
        ..PLAIN
    };
    let theirs = of_llama(penalised);
    let best = (0..theirs.len()).max_by(|&a, &b| theirs[a].total_cmp(&theirs[b]));
    let mut sampler = Sampler::new(
        Sampling {
            temperature: 0.0,
            ..penalised
        },
        None,
    );
    for token in BEFORE {
        sampler.accept(token);
    }
    assert_eq!(Some(sampler.sample(&mut logits()) as usize), best);
}
