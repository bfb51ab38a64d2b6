//! Conversations that do not fit: how long they are at least, and what may be left out of them.

use super::messages::{Message, Role};

/// How many bytes a token may stand for, in a conversation that fits.
pub(super) const LONGEST_TOKENS: usize = 16;

/// More bytes than this do not fit into a context of so many tokens.
pub(super) fn most_bytes(window: usize) -> usize {
    window.saturating_mul(LONGEST_TOKENS)
}

/// The size of a message: its content, with its share of what a template puts around it.
fn size_of(message: &Message) -> usize {
    const AROUND: usize = 24;
    let content = message.value.get_attr("content").unwrap_or_default();
    content.as_str().map_or(0, str::len) + AROUND
}

pub(super) fn bytes_of(messages: &[Message]) -> usize {
    messages.iter().map(size_of).sum()
}

/// Ever less of a conversation, each with how many messages it leaves out. System messages and the last turn
/// stay, and what is left begins with a user's message.
///
/// The cuts are about a quarter of the context apart (a token has about four bytes), and depend on nothing
/// that comes after them: in the turns that follow, the same messages are left out, and the beginning stays
/// the same, until the context is full again.
pub(super) fn without_oldest(messages: &[Message], window: usize) -> Vec<(Vec<Message>, usize)> {
    let is_user = |message: &Message| message.role == Role::User;
    let first = messages
        .iter()
        .position(|message| !message.role.is_system());
    let (Some(first), Some(last)) = (first, messages.iter().rposition(is_user)) else {
        return Vec::new();
    };
    let sizes: Vec<usize> = messages.iter().map(size_of).collect();
    let (mut cuts, mut since) = (Vec::new(), 0);
    for at in first..last {
        // Turns begin with a user: results of tools never stand without their calls.
        if since >= window && is_user(&messages[at]) {
            cuts.push(at);
            since = 0;
        }
        since += sizes[at];
    }
    // What is far too much need not be tried.
    cuts.retain(|&cut| sizes[cut..].iter().sum::<usize>() <= most_bytes(window));
    cuts.extend((last > first).then_some(last));
    let cut_at = |cut: usize| {
        let left = messages[..first].iter().chain(&messages[cut..]);
        (left.cloned().collect(), cut - first)
    };
    cuts.into_iter().map(cut_at).collect()
}
