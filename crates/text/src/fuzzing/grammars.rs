//! Grammars of strangers: refused, or two ways of following an answer through them agree, and its end is whole.

use std::sync::{Arc, LazyLock};

use serde::de::IgnoredAny;

use super::tools_of;
use crate::answer::{Options, Parser};
use crate::constraint::{Calls, Constraints, Follower, Grammar, Kind, Matcher, Vocabulary};
use crate::families;

/// The token that ends an answer; those before it are the bytes.
const END: usize = 256;
/// How many tokens are chosen before the answer is brought to its end, and the longest end.
const CHOSEN: usize = 16;
const LONGEST: usize = 600;

/// The bytes as tokens. The one of NUL is none for answers.
static BYTES: LazyLock<Constraints> = LazyLock::new(|| {
    let mut vocabulary = Vocabulary::default();
    for byte in 0..=u8::MAX {
        vocabulary.push(Kind::Text, &[byte]);
    }
    vocabulary.push(Kind::End, b"</s>");
    Constraints::new(Arc::new(vocabulary)).expect("a vocabulary")
});

/// A JSON schema of a stranger.
pub fn json_schema(bytes: &[u8]) {
    follow(&Grammar::JsonSchema(text(bytes)));
}

/// A regular expression of a stranger.
pub fn regex(bytes: &[u8]) {
    follow(&Grammar::Regex(text(bytes)));
}

/// A grammar of a stranger.
pub fn lark(bytes: &[u8]) {
    follow(&Grammar::Lark(text(bytes)));
}

/// A `tokenizer.json` of a stranger.
pub fn tokenizer_json(bytes: &[u8]) {
    drop(Vocabulary::from_tokenizer_json(&text(bytes)));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An answer on its way, with and without a vocabulary.
struct Walk<'a> {
    grammar: &'a Grammar,
    matcher: Matcher,
    follower: Follower,
    answer: Vec<u8>,
}

/// Refused, or an answer that is made of what may come is taken by both, and ends where it is whole.
fn follow(grammar: &Grammar) {
    let Ok(follower) = Follower::new(grammar) else {
        return;
    };
    let Ok(matcher) = BYTES.matcher(grammar) else {
        return;
    };
    let mut walk = Walk {
        grammar,
        matcher,
        follower,
        answer: Vec::new(),
    };
    // Too complex to go on is an answer, too.
    walk.go();
}

impl Walk<'_> {
    fn go(&mut self) -> Option<()> {
        // The same for the same grammar.
        let start = self.grammar.texts().flat_map(str::bytes);
        let mut dice = start.fold(1_u64, |dice, byte| {
            (dice ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        for _ in 0..CHOSEN {
            let legal = self.legal()?;
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let choice: Vec<u8> = legal.iter().flat_map(|at| u8::try_from(*at)).collect();
            if let Some(byte) = (0..=u8::MAX).find(|byte| !legal.contains(&usize::from(*byte))) {
                let taken = self.matcher.push(i32::from(byte)).ok()?;
                assert!(!taken, "{self} takes {byte}, which is masked");
            }
            if choice.is_empty() {
                break;
            }
            let byte = choice[(dice >> 33) as usize % choice.len()];
            self.take(byte)?;
        }
        let forced = self.follower.forced().to_vec();
        if let Ok(taken) = self.follower.clone().take(&forced) {
            assert_eq!(taken, forced.len(), "{self}: {forced:?} is forced");
        }
        let ending = self.follower.ending(LONGEST)?;
        for byte in ending {
            // The token of NUL is none for answers.
            if byte == 0 {
                return None;
            }
            self.take(byte)?;
        }
        assert!(self.legal()?.contains(&END), "{self} has no end");
        // Where nothing else may come, it is over already.
        let was_over = self.matcher.is_over();
        let taken = self.matcher.push(END as i32).ok()?;
        assert_ne!(taken, was_over, "{self}: its end");
        assert!(self.matcher.is_over(), "{self} goes on after its end");
        Some(())
    }

    /// The tokens that may come. The end is one of them where the answer is whole.
    fn legal(&mut self) -> Option<Vec<usize>> {
        let mut logits = [0.0; END + 1];
        self.matcher.mask(&mut logits).ok()?;
        let legal: Vec<usize> = (0..=END).filter(|at| logits[*at] == 0.0).collect();
        let may_end = legal.contains(&END);
        assert_eq!(may_end, self.matcher.may_end(), "{self}: the end");
        assert_eq!(may_end, self.follower.may_end(), "{self}: the end");
        if may_end && matches!(self.grammar, Grammar::JsonSchema(_)) {
            let read = serde_json::from_slice::<IgnoredAny>(&self.answer);
            assert!(read.is_ok(), "{self} is no JSON: {read:?}");
        }
        Some(legal)
    }

    /// Goes on over a byte that may come.
    fn take(&mut self, byte: u8) -> Option<()> {
        let taken = self.matcher.push(i32::from(byte)).ok()?;
        assert!(taken, "{self}: {byte} may come, and is not taken");
        let taken = self.follower.take(&[byte]).ok()?;
        assert_eq!(taken, 1, "{self}: {byte} may come, and does not fit");
        self.answer.push(byte);
        Some(())
    }
}

impl std::fmt::Display for Walk<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let answer = String::from_utf8_lossy(&self.answer);
        write!(f, "{answer:?} of {:?}", self.grammar)
    }
}

/// The grammar of a stranger's tools in a family's spelling: what keeps to it is read as calls.
pub fn calls(bytes: &[u8]) {
    let [family, many, bytes @ ..] = bytes else {
        return;
    };
    let all = families::all();
    let format = &all[usize::from(*family) % all.len()].format;
    let text = String::from_utf8_lossy(bytes);
    let (tools, walk) = text.split_once('\0').unwrap_or((&text, ""));
    let Some(tools) = tools_of(tools) else {
        return;
    };
    let Ok(calls) = Calls::new(format, &tools, None, many % 2 == 1) else {
        return;
    };
    let Ok(mut follower) = Follower::new(&Grammar::Calls(calls)) else {
        return;
    };
    // Whatever is forced, and of the walk what may come.
    let mut answer = Vec::new();
    let mut buffer = [0; 4];
    for letter in walk.chars().take(200) {
        let forced = follower.forced().to_vec();
        let Ok(taken) = follower.take(&forced) else {
            return;
        };
        assert_eq!(taken, forced.len(), "{forced:?} is forced");
        answer.extend(forced);
        let letter = letter.encode_utf8(&mut buffer).as_bytes();
        match follower.take(letter) {
            Ok(taken) if taken == letter.len() => answer.extend_from_slice(letter),
            Ok(_) => {}
            Err(_) => return,
        }
    }
    let Some(ending) = follower.ending(4000) else {
        return;
    };
    answer.extend(ending);
    let answer = String::from_utf8(answer).expect("a grammar of characters");
    let options = Options {
        tools: Arc::new(tools),
        ..Options::default()
    };
    let mut parser = Parser::new(Arc::clone(format), options);
    let mut events = Vec::new();
    parser.push(&answer, &mut events);
    let read = parser.finish(&mut events);
    assert!(!read.tool_calls.is_empty(), "{answer:?} {read:?}");
    assert_eq!(read.content.trim(), "", "{answer:?} {read:?}");
}
