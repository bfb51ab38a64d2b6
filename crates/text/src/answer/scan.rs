//! Finds where a JSON value ends, whatever stands in its strings, without reading it.

use super::input::{Hit, Input};

/// So many bytes are looked through one by one.
const FEW: usize = 16;

/// Where in a value the text is. Understands more than JSON, so that what a model got slightly wrong
/// still ends where it should: single quotes, comments, strings between markers.
#[derive(Debug, Clone, Default)]
pub(super) struct Scan {
    depth: u32,
    inside: Inside,
    /// The last byte outside strings that is no white space.
    before: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    String {
        quote: u8,
        is_escaped: bool,
    },
    /// A string between markers of the format: the place of its pair.
    Marked(usize),
    Slash,
    LineComment,
    BlockComment {
        star: bool,
    },
}

/// What was found; all before it belongs to the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The value ends before this place.
    End(usize),
    /// A byte that no value has outside strings, and that may begin a marker.
    Odd(usize),
    /// The value goes on after the text; from here on it must be seen again.
    More(usize),
}

/// Whether it is only passed over: most of numbers and of what stands between them.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b',' | b':' | b'.' | b'-')
}

impl Scan {
    /// Reads on from `at`, which in the beginning is the value's first bracket.
    pub(super) fn run(&mut self, input: &Input, mut at: usize, quotes: &[[String; 2]]) -> Found {
        let bytes = input.text.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            match self.inside {
                Inside::String { quote, is_escaped } => {
                    if is_escaped {
                        at += 1;
                        self.set_escaped(quote, false);
                        continue;
                    }
                    let rest = &bytes[at..];
                    // Of a token's few bytes calling it would take most of the time.
                    let found = if rest.len() < FEW {
                        rest.iter().position(|&byte| byte == quote || byte == b'\\')
                    } else {
                        memchr::memchr2(quote, b'\\', rest)
                    };
                    let Some(found) = found else {
                        return Found::More(bytes.len());
                    };
                    at += found + 1;
                    if bytes[at - 1] == quote {
                        self.inside = Inside::Nothing;
                        self.before = quote;
                    } else {
                        self.set_escaped(quote, true);
                    }
                }
                Inside::Marked(pair) => match input.hit(at, &quotes[pair][1]) {
                    Hit::Yes(length) => {
                        at += length;
                        self.inside = Inside::Nothing;
                        self.before = b'"';
                    }
                    Hit::Partial => return Found::More(at),
                    Hit::No => {
                        let rest = &bytes[at + 1..];
                        let close = quotes[pair][1].bytes().next();
                        let next = close.and_then(|close| memchr::memchr(close, rest));
                        at += 1 + next.unwrap_or(rest.len());
                    }
                },
                Inside::Slash => {
                    self.inside = match byte {
                        b'/' => Inside::LineComment,
                        b'*' => Inside::BlockComment { star: false },
                        _ => Inside::Nothing,
                    };
                    at += usize::from(self.inside != Inside::Nothing);
                }
                Inside::LineComment => {
                    at += 1;
                    if byte == b'\n' {
                        self.inside = Inside::Nothing;
                    }
                }
                Inside::BlockComment { star } => {
                    at += 1;
                    self.inside = match byte {
                        b'/' if star => Inside::Nothing,
                        _ => Inside::BlockComment { star: byte == b'*' },
                    };
                }
                Inside::Nothing => {
                    if quotes.is_empty() {
                        at = self.over_plain(bytes, at);
                    } else {
                        match self.opens_marked(input, at, quotes) {
                            Hit::Yes(length) => {
                                at += length;
                                continue;
                            }
                            Hit::Partial => return Found::More(at),
                            Hit::No => {}
                        }
                    }
                    let Some(&byte) = bytes.get(at) else { break };
                    match byte {
                        b'{' | b'[' | b'(' => self.depth = self.depth.saturating_add(1),
                        b'}' | b']' | b')' => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 {
                                return Found::End(at + 1);
                            }
                        }
                        b'"' | b'\'' if b":,[{(=".contains(&self.before) => {
                            self.set_escaped(byte, false);
                        }
                        b'/' => self.inside = Inside::Slash,
                        b'<' | b'>' => return Found::Odd(at),
                        _ => {}
                    }
                    if !byte.is_ascii_whitespace() {
                        self.before = byte;
                    }
                    at += 1;
                }
            }
        }
        Found::More(bytes.len())
    }

    /// The next place that is not only passed over.
    fn over_plain(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while let Some(&byte) = bytes.get(at).filter(|&&byte| is_plain(byte)) {
            self.before = byte;
            at += 1;
        }
        at
    }

    fn set_escaped(&mut self, quote: u8, is_escaped: bool) {
        self.inside = Inside::String { quote, is_escaped };
    }

    fn opens_marked(&mut self, input: &Input, at: usize, quotes: &[[String; 2]]) -> Hit {
        for (pair, [open, _]) in quotes.iter().enumerate() {
            match input.hit(at, open) {
                Hit::No => {}
                Hit::Yes(length) => {
                    self.inside = Inside::Marked(pair);
                    return Hit::Yes(length);
                }
                Hit::Partial => return Hit::Partial,
            }
        }
        Hit::No
    }
}
