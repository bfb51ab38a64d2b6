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
