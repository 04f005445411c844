//! Cursors as clients see them: `c1.` and the letters of a few numbers.
//!
//! A cursor names a log and one of its responses, and it carries the digest of that response's rows: if the
//! log is lost, an equal digest still proves that nothing changed. It is bound to its question by digests of
//! the question's parts. Nothing in it depends on the process, so it is understood after a restart and by
//! other replicas.

use sha2::{Digest as _, Sha256};

use super::log::Sequence;
use crate::domain::{AgentId, CallerId, Credential, Digest, Filters, Statuses, Timestamp};

/// The prefix of cursors; a later format will have another number.
const PREFIX: &str = "c1.";

/// The length of a cursor in bytes, without its prefix.
const LENGTH: usize = 52;

/// The letters of six bits each (RFC 4648 section 5).
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a client has: the rows of a question as of one of its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(super) question: Binding,
    pub(super) log: LogNumber,
    pub(super) sequence: Sequence,
    pub(super) digest: Digest,
    pub(super) count: u32,
}

/// Identifies a log among all logs ever; random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogNumber(pub(super) u64);

/// Digests of the question's parts, so that a refusal can say which part differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding([[u8; 4]; 4]);

/// The parts of a question in the order of their digests, as error messages name them.
const PARTS: [&str; 4] = ["the key", "the agents", "the filters", "`from` or `to`"];

/// Why a cursor can't be used with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorError {
    /// It is not a fanfold cursor.
    Malformed,
    /// It belongs to another question, which differs in this part.
    OtherQuestion(&'static str),
}

/// A question whose changes are followed; a log and its cursors belong to it.
#[derive(Clone, Debug)]
pub struct FollowedQuestion {
    pub(super) binding: Binding,
    pub(super) key: LogKey,
    pub(super) agents: FollowedAgents,
}

/// Identifies a question, with the strength of SHA-256 truncated to 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LogKey([u8; 16]);

/// The agents of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowedAgents {
    /// All agents of the key, which may change.
    All,
    /// All agents of a caller's token, which may change. Another token has other agents.
    AllOf(CallerId),
    /// These, in any order.
    Some(Vec<AgentId>),
}

impl FollowedQuestion {
    /// The question about the executions of these agents that pass the filters, as upstream shows them to a
    /// key.
    ///
    /// The key itself counts, not its name in this process: another key may belong to another account.
    pub fn new(
        credential: &Credential,
        agents: FollowedAgents,
        (filters, any_status): (&Filters, Option<&Statuses>),
        (from, to): (Option<Timestamp>, Option<Timestamp>),
    ) -> Self {
        let named = match &agents {
            FollowedAgents::All => vec!["all".to_owned()],
            FollowedAgents::AllOf(CallerId::Token(digest)) => {
                vec!["all of".to_owned(), format!("{:032x}", u128::from_be_bytes(*digest))]
            }
            FollowedAgents::AllOf(CallerId::Key(_)) => vec!["all".to_owned()],
            FollowedAgents::Some(agents) => {
                let mut ids: Vec<_> = agents.iter().map(ToString::to_string).collect();
                ids.sort_unstable();
                ids.dedup();
                ids
            }
        };
        let mut filtered: Vec<_> =
            filters.pairs().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        filtered.extend(
            any_status.iter().flat_map(|any| any.iter()).map(|status| format!("any={}", status.as_str())),
        );
        let instant = |at: Option<Timestamp>| at.map_or_else(String::new, |at| at.as_micros().to_string());
        let parts = [
            hash(b"key", &[credential.expose_key().to_owned()]),
            hash(b"agents", &named),
            hash(b"filters", &filtered),
            hash(b"dates", &[instant(from), instant(to)]),
        ];
        let whole = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
        Self { binding: Binding(parts.map(|part| first(&part))), key: LogKey(first(&whole)), agents }
    }

    /// Reads a cursor of this question.
    ///
    /// # Errors
    /// It is malformed, or belongs to another question.
    pub fn cursor(&self, text: &str) -> Result<Cursor, CursorError> {
        let cursor = Cursor::parse(text).ok_or(CursorError::Malformed)?;
        let pairs = self.binding.0.iter().zip(cursor.question.0).zip(PARTS);
        let differing = pairs.filter(|((ours, theirs), _)| *ours != theirs).map(|(_, part)| part).next();
        differing.map_or(Ok(cursor), |part| Err(CursorError::OtherQuestion(part)))
    }
}

/// The digest of a list. Each member is preceded by its length, which separates it from the next.
fn hash(tag: &[u8], members: &[String]) -> [u8; 32] {
    let mut hash = Sha256::new().chain_update(b"fanfold cursor ").chain_update(tag);
    for member in members {
        hash.update((member.len() as u64).to_be_bytes());
        hash.update(member);
    }
    hash.finalize().into()
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    first
}

impl Cursor {
    /// Whether these are the rows that the client has.
    pub fn is_of(&self, digest: Digest, count: u64) -> bool {
        (self.digest, u64::from(self.count)) == (digest, count)
    }

    /// Reads a cursor.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = decode(text.strip_prefix(PREFIX)?)?;
        let (content, check) = bytes.split_at(LENGTH - 4);
        if checksum(content) != check {
            return None;
        }
        let mut left = content;
        let mut take = |length: usize| {
            let (taken, rest) = left.split_at(length);
            left = rest;
            taken
        };
        let question = Binding([(); 4].map(|()| first(take(4))));
        let log = LogNumber(u64::from_be_bytes(first(take(8))));
        let sequence = Sequence(u32::from_be_bytes(first(take(4))));
        let digest = Digest(u128::from_be_bytes(first(take(16))));
        let count = u32::from_be_bytes(first(take(4)));
        Some(Self { question, log, sequence, digest, count })
    }
}

/// The text of a cursor.
impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = self.question.0.concat();
        bytes.extend(self.log.0.to_be_bytes());
        bytes.extend(self.sequence.0.to_be_bytes());
        bytes.extend(self.digest.0.to_be_bytes());
        bytes.extend(self.count.to_be_bytes());
        let check = checksum(&bytes);
        bytes.extend(check);
        f.write_str(PREFIX)?;
        f.write_str(&encode(&bytes))
    }
}

/// The checksum that detects a truncated or mistyped cursor.
fn checksum(content: &[u8]) -> [u8; 4] {
    first(&Sha256::digest(content))
}

/// Bytes as letters of six bits, the last filled up with zeros.
fn encode(bytes: &[u8]) -> String {
    let letter = |at: usize| {
        // The six bits that begin there, from two bytes.
        let pair =
            [bytes.get(at / 8), bytes.get(at / 8 + 1)].map(|byte| u16::from(byte.copied().unwrap_or(0)));
        let bits = (pair[0] << 8 | pair[1]) >> (10 - at % 8) & 0x3f;
        char::from(LETTERS[usize::from(bits)])
    };
    (0..bytes.len() * 8).step_by(6).map(letter).collect()
}

/// The bytes of these letters, if their number is right and [`encode`] would return the same letters.
fn decode(text: &str) -> Option<[u8; LENGTH]> {
    if text.len() != (LENGTH * 8).div_ceil(6) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (at, letter) in (0..LENGTH * 8).step_by(6).zip(text.bytes()) {
        let bits = LETTERS.iter().position(|known| *known == letter)?;
        let pair = u16::try_from(bits).ok()? << (10 - at % 8);
        let [high, low] = pair.to_be_bytes();
        bytes[at / 8] |= high;
        match bytes.get_mut(at / 8 + 1) {
            Some(next) => *next |= low,
            None if low == 0 => {}
            None => return None,
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::domain::{CredentialId, Status};

    fn credential(key: &str) -> Credential {
        Credential::new(CredentialId::new([1; 16]), key.to_owned().into())
    }

    fn agent(n: u128) -> AgentId {
        AgentId::new(Uuid::from_u128(n))
    }

    fn question(key: &str, agents: &[u128], filters: &Filters, from: Option<i64>) -> FollowedQuestion {
        let agents = FollowedAgents::Some(agents.iter().map(|n| agent(*n)).collect());
        let from = from.map(Timestamp::from_micros);
        FollowedQuestion::new(&credential(key), agents, (filters, None), (from, None))
    }

    fn cursor(of: &FollowedQuestion) -> Cursor {
        Cursor {
            question: of.binding,
            log: LogNumber(7),
            sequence: Sequence(3),
            digest: Digest(9),
            count: 10,
        }
    }

    proptest! {
        #[test]
        fn a_cursor_is_read_back(log: u64, sequence: u32, digest: u128, count: u32, key in "[a-z]{1,20}") {
            let of = question(&key, &[1], &Filters::default(), None);
            let cursor = Cursor { log: LogNumber(log), sequence: Sequence(sequence), digest: Digest(digest), count, ..cursor(&of) };
            let text = cursor.to_string();
            prop_assert!(text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            prop_assert_eq!(of.cursor(&text), Ok(cursor));
        }

        #[test]
        fn a_cursor_that_was_changed_is_malformed(at in 0usize..74, letter in "[A-Za-z0-9._-]", cut in 0usize..73) {
            let of = question("bn-1", &[1], &Filters::default(), None);
            let text = cursor(&of).to_string();
            let mut changed = text.clone();
            if at < changed.len() {
                changed.replace_range(at..=at, &letter);
            }
            prop_assert_eq!(of.cursor(&changed).is_ok(), changed == text);
            prop_assert_eq!(of.cursor(text.get(..cut).unwrap_or_default()), Err(CursorError::Malformed));
            prop_assert_eq!(of.cursor(&format!("{text}{letter}")), Err(CursorError::Malformed));
        }
    }

    #[test]
    fn a_cursor_of_another_question_is_refused_by_what_differs() {
        let plain = Filters::default();
        let busy = Filters { status: Some(Status::new("busy")), ..Filters::default() };
        let of = question("bn-1", &[1, 2], &plain, None);
        let text = cursor(&of).to_string();
        for (other, part) in [
            (question("bn-2", &[1, 2], &plain, None), "the key"),
            (question("bn-1", &[1], &plain, None), "the agents"),
            (question("bn-1", &[1, 2], &busy, None), "the filters"),
            (question("bn-1", &[1, 2], &plain, Some(0)), "`from` or `to`"),
        ] {
            assert_eq!(other.cursor(&text), Err(CursorError::OtherQuestion(part)));
            assert_ne!(other.key, of.key);
        }
        let all =
            FollowedQuestion::new(&credential("bn-1"), FollowedAgents::All, (&plain, None), (None, None));
        assert_eq!(all.cursor(&text), Err(CursorError::OtherQuestion("the agents")));
    }

    #[test]
    fn the_order_of_agents_and_the_name_of_a_key_do_not_count() {
        let of = question("bn-1", &[1, 2], &Filters::default(), Some(5));
        let same = question("bn-1", &[2, 1, 2], &Filters::default(), Some(5));
        let text = cursor(&of).to_string();
        assert!(same.cursor(&text).is_ok());
        let after_a_restart = Credential::new(CredentialId::new([2; 16]), "bn-1".to_owned().into());
        let agents = FollowedAgents::Some(vec![agent(1), agent(2)]);
        let from = Some(Timestamp::from_micros(5));
        let again =
            FollowedQuestion::new(&after_a_restart, agents, (&Filters::default(), None), (from, None));
        assert_eq!((again.cursor(&text).is_ok(), again.key), (true, of.key));
    }

    #[test]
    fn several_statuses_are_not_the_same_as_none() {
        let any = |words: &[&str]| {
            let any = Statuses::new(words.iter().map(|word| Status::new(word)));
            let agents = FollowedAgents::Some(vec![agent(1)]);
            FollowedQuestion::new(
                &credential("bn-1"),
                agents,
                (&Filters::default(), any.as_ref()),
                (None, None),
            )
            .key
        };
        assert_eq!(any(&["busy", "failed"]), any(&["failed", "busy"]));
        assert_ne!(any(&["busy", "failed"]), any(&[]));
        assert_ne!(any(&["busy", "failed"]), any(&["busy", "canceled"]));
    }
}
