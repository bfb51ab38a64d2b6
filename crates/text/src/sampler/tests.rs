//! How a token is drawn, and what penalties and limits do to that.

use super::*;

const PLAIN: Sampling = Sampling {
    top_k: 40,
    top_p: 0.9,
    temperature: 0.8,
    repeat_penalty: 1.0,
    frequency_penalty: 0.0,
    presence_penalty: 0.0,
    mirostat: 0,
    mirostat_tau: 5.0,
    mirostat_eta: 0.1,
    min_p: 0.0,
    typical_p: 1.0,
};

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..n).map(|_| random.unit() * 20.0 - 10.0).collect()
}

fn accept_all(sampler: &mut Sampler, tokens: &[i32]) {
    for &token in tokens {
        sampler.accept(token);
    }
}

#[test]
fn greedy_takes_the_first_of_the_best() {
    let mut logits = noise(1000, 1);
    logits[777] = 50.0;
    logits[900] = 50.0;
    for settings in [
        Sampling {
            temperature: 0.0,
            ..PLAIN
        },
        Sampling { top_k: 1, ..PLAIN },
        Sampling {
            temperature: 0.0,
            mirostat: 2,
            ..PLAIN
        },
    ] {
        let mut sampler = Sampler::new(settings, Some(1));
        assert_eq!(sampler.sample(&mut logits.clone()), 777);
    }
}

#[test]
fn the_best_are_kept_in_order() {
    let logits = noise(5000, 2);
    let mut sorted: Vec<f32> = logits.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    for k in [1, 2, 40, 1024, 5000] {
        let mut sampler = Sampler::new(PLAIN, Some(1));
        sampler.keep_best(&logits, k);
        let kept: Vec<f32> = sampler.candidates.iter().map(|c| c.logit).collect();
        assert_eq!(kept, sorted[..k], "{k}");
    }
}

#[test]
fn a_seed_repeats_and_draws_stay_within_top_k() {
    for mirostat in 0..3 {
        let settings = Sampling {
            mirostat,
            top_p: 1.0,
            temperature: 2.0,
            ..PLAIN
        };
        let draw = |seed| {
            let mut sampler = Sampler::new(settings, Some(seed));
            (0..50)
                .map(|i| sampler.sample(&mut noise(3000, i)))
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7), "{mirostat}");
        assert_ne!(draw(7), draw(8), "{mirostat}");
    }
    let logits = noise(3000, 3);
    let mut order: Vec<usize> = (0..3000).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut sampler = Sampler::new(
        Sampling {
            top_k: 5,
            top_p: 1.0,
            ..PLAIN
        },
        Some(1),
    );
    for _ in 0..200 {
        let token = sampler.sample(&mut logits.clone()) as usize;
        assert!(order[..5].contains(&token));
    }
}

#[test]
fn a_small_nucleus_leaves_one_even_without_top_k() {
    let mut logits = noise(3000, 4);
    logits[42] = 40.0;
    let mut sampler = Sampler::new(
        Sampling {
            top_k: 0,
            top_p: 0.5,
            ..PLAIN
        },
        Some(1),
    );
    assert_eq!(sampler.sample(&mut logits), 42);
    // A flat row has a nucleus beyond the first thousand.
    let mut flat = vec![0.0; 3000];
    let mut sampler = Sampler::new(
        Sampling {
            top_k: 0,
            top_p: 0.9,
            ..PLAIN
        },
        Some(1),
    );
    let beyond = (0..100)
        .filter(|_| sampler.sample(&mut flat) >= 1024)
        .count();
    assert!(beyond > 20, "{beyond}");
}

#[test]
fn penalties_push_down_either_sign() {
    let settings = Sampling {
        temperature: 0.0,
        repeat_penalty: 2.0,
        ..PLAIN
    };
    let mut sampler = Sampler::new(settings, Some(1));
    accept_all(&mut sampler, &[0, 1, 1, -1, 99]);
    let mut logits = vec![4.0, -4.0, 3.0];
    assert_eq!(sampler.sample(&mut logits), 2);
    assert_eq!(logits, [2.0, -8.0, 3.0]);
    let settings = Sampling {
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        ..PLAIN
    };
    let mut sampler = Sampler::new(settings, Some(1));
    accept_all(&mut sampler, &[1, 1]);
    let mut logits = vec![0.0, 1.0];
    sampler.sample(&mut logits);
    assert_eq!(logits, [0.0, -0.25]);
}

#[test]
fn the_window_forgets() {
    let settings = Sampling {
        repeat_penalty: 2.0,
        temperature: 0.0,
        ..PLAIN
    };
    let mut sampler = Sampler::new(settings, Some(1));
    sampler.accept(0);
    accept_all(&mut sampler, &[1; PENALTY_WINDOW]);
    let mut logits = vec![1.0, 1.5];
    assert_eq!(sampler.sample(&mut logits), 0);
}

#[test]
fn a_copy_draws_the_same_and_new_settings_apply_at_once() {
    for mirostat in 0..3 {
        let settings = Sampling {
            mirostat,
            temperature: 1.5,
            ..PLAIN
        };
        let mut sampler = Sampler::new(settings, Some(5));
        for i in 0..10 {
            sampler.sample(&mut noise(3000, i));
        }
        let mut copy = sampler.clone();
        // The same settings change nothing, not even what mirostat has learnt.
        copy.go_on_with(settings);
        for i in 10..30 {
            let token = sampler.sample(&mut noise(3000, i));
            assert_eq!(copy.sample(&mut noise(3000, i)), token, "{mirostat}");
        }
        copy.go_on_with(Sampling {
            temperature: 0.0,
            ..settings
        });
        let logits = noise(3000, 31);
        assert_eq!(copy.sample(&mut logits.clone()), best(&logits));
    }
}

/// How often each token is drawn, as a share.
fn shares(settings: Sampling, logits: &[f32]) -> Vec<f64> {
    const DRAWS: usize = 40_000;
    let mut sampler = Sampler::new(settings, Some(11));
    let mut counts = vec![0_usize; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.sample(&mut logits.to_vec()) as usize] += 1;
    }
    let share = |count| count as f64 / DRAWS as f64;
    counts.into_iter().map(share).collect()
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights = logits.iter().map(|l| (f64::from(*l) / temperature).exp());
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// The shares of what is left when only the tokens of `kept` may come.
fn only(kept: &[usize], logits: &[f32], temperature: f64) -> Vec<f64> {
    let mut all = softmax(logits, temperature);
    let total: f64 = kept.iter().map(|at| all[*at]).sum();
    for (at, share) in all.iter_mut().enumerate() {
        *share = if kept.contains(&at) {
            *share / total
        } else {
            0.0
        };
    }
    all
}

fn assert_near(drawn: &[f64], expected: &[f64]) {
    let far: f64 = drawn.iter().zip(expected).map(|(a, b)| (a - b).abs()).sum();
    assert!(far < 0.03, "{drawn:?} {expected:?}");
    let never = |(drawn, expected): (&f64, &f64)| *expected > 0.0 || *drawn <= 0.0;
    assert!(drawn.iter().zip(expected).all(never));
}

#[test]
fn each_cut_leaves_the_distribution_of_the_rest() {
    // Probabilities 0.05, 0.4, 0.2, 0.3, 0.05 as they are.
    let logits: Vec<f32> = [0.05_f32, 0.4, 0.2, 0.3, 0.05].map(f32::ln).to_vec();
    let all = Sampling {
        top_k: 0,
        top_p: 1.0,
        temperature: 0.7,
        ..PLAIN
    };
    let cases = [
        (all, vec![0, 1, 2, 3, 4]),
        (Sampling { top_k: 2, ..all }, vec![1, 3]),
        (Sampling { top_p: 0.75, ..all }, vec![1, 2, 3]),
        (Sampling { min_p: 0.6, ..all }, vec![1, 3]),
        (Sampling { min_p: 1.0, ..all }, vec![1]),
        // Expected surprise 1.35 nats: of 0.2 it is 1.61, of 0.3 it is 1.20, of 0.4 it is 0.92.
        (
            Sampling {
                typical_p: 0.0,
                ..all
            },
            vec![3],
        ),
        (
            Sampling {
                typical_p: 0.4,
                ..all
            },
            vec![2, 3],
        ),
        (
            Sampling {
                typical_p: 0.8,
                ..all
            },
            vec![1, 2, 3],
        ),
        (
            Sampling {
                typical_p: 0.4,
                top_p: 0.5,
                ..all
            },
            vec![3],
        ),
        (
            Sampling {
                top_k: 3,
                min_p: 0.6,
                ..all
            },
            vec![1, 3],
        ),
    ];
    for (settings, kept) in cases {
        let expected = only(&kept, &logits, f64::from(settings.temperature));
        assert_near(&shares(settings, &logits), &expected);
    }
}

#[test]
fn min_p_finds_its_end_beyond_the_first_thousand() {
    let flat = vec![0.0; 3000];
    let settings = Sampling {
        top_k: 0,
        top_p: 1.0,
        min_p: 0.5,
        ..PLAIN
    };
    let mut sampler = Sampler::new(settings, Some(1));
    let beyond = (0..100)
        .filter(|_| sampler.sample(&mut flat.clone()) >= 1024)
        .count();
    assert!(beyond > 20, "{beyond}");
}

#[test]
fn what_is_banned_is_never_drawn() {
    let mut logits = vec![f32::NEG_INFINITY; 3000];
    (logits[7], logits[2000]) = (0.0, 1.0);
    for (top_k, typical_p) in [(0, 1.0), (40, 1.0), (0, 0.9), (40, 0.9)] {
        for mirostat in 0..3 {
            let settings = Sampling {
                top_k,
                typical_p,
                mirostat,
                top_p: 1.0,
                ..PLAIN
            };
            let mut sampler = Sampler::new(settings, Some(1));
            for _ in 0..200 {
                let token = sampler.sample(&mut logits.clone());
                assert!([7, 2000].contains(&token), "{settings:?}: {token}");
            }
        }
    }
}

#[test]
fn log_probabilities_are_of_all_tokens() {
    let logits = noise(3000, 9);
    let total = log_sum_exp(&logits);
    let sum: f64 = logits.iter().map(|l| (f64::from(*l) - total).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    let best = likeliest(&logits, 3);
    assert_eq!(best[0].0, super::best(&logits));
    assert!(best[0].1 >= best[1].1 && best[1].1 >= best[2].1);
    assert_eq!(likeliest(&logits, 0), []);
    assert_eq!(likeliest(&[1.0], 5), [(0, 1.0)]);
}
