use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::domain::{AgentId, Rounding, Timestamp};

/// The tokens file: one token a line, `<name> <sha256-hex> <agent-uuid,…|*> [expires RFC 3339]`, `#`
/// comments.
#[derive(Debug)]
pub struct Tokens(Vec<Token>);

/// A token as the file describes it, by its digest.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) name: Arc<str>,
    sha256: [u8; 32],
    pub(super) agents: Agents,
    expires: Option<Timestamp>,
}

/// The agents that a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Every agent of the account.
    All,
    /// These.
    Some(BTreeSet<AgentId>),
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    Unknown,
    Expired,
}

/// Every fault of a tokens file.
#[derive(Debug)]
pub struct BadTokens(pub Vec<BadToken>);

/// A line of the tokens file that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct BadToken {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: &'static str,
}

/// A new token.
#[derive(Debug)]
pub struct NewToken {
    /// The line for the tokens file.
    pub line: String,
    /// The token itself, which only its bearer may see.
    pub token: SecretString,
}

const BAD_NAME: &str = "the name must consist of 1 to 64 letters, digits, `_`, `.` and `-`";

/// Creates a token and its line for the tokens file.
///
/// # Errors
/// If the name is not valid; the error says what a valid name is.
pub fn new_token(name: &str, agents: &Agents, expires: Option<Timestamp>) -> Result<NewToken, &'static str> {
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    let token = format!("ff_{}", hex(&rand::random::<[u8; 32]>()));
    let digest = hex(&Sha256::digest(&token));
    let expires = expires.map_or(String::new(), |at| format!(" {at}"));
    Ok(NewToken { line: format!("{name} {digest} {agents}{expires}"), token: token.into() })
}

impl Tokens {
    /// Reads the file's text.
    ///
    /// # Errors
    /// Every line that can't be read, not only the first.
    pub fn parse(text: &str) -> Result<Self, BadTokens> {
        let mut tokens: Vec<Token> = Vec::new();
        let mut faults = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let parsed = parse_line(line).and_then(|token| {
                let is_double = |t: &Token| t.name == token.name || t.sha256 == token.sha256;
                if tokens.iter().any(is_double) {
                    Err("the name or the digest is already on an earlier line")
                } else {
                    Ok(token)
                }
            });
            match parsed {
                Ok(token) => tokens.push(token),
                Err(fault) => faults.push(BadToken { line: at + 1, fault }),
            }
        }
        if faults.is_empty() { Ok(Self(tokens)) } else { Err(BadTokens(faults)) }
    }

    /// Finds the token that was presented. Compares it with every line, so that the time does not depend on
    /// which one matches.
    pub(super) fn find(&self, presented: &str, now: Timestamp) -> Result<&Token, TokenRefusal> {
        let digest = Sha256::digest(presented);
        let matching = self.0.iter().fold(None, |found, token| {
            if bool::from(token.sha256.ct_eq(digest.as_slice())) { Some(token) } else { found }
        });
        match matching {
            None => Err(TokenRefusal::Unknown),
            Some(token) if token.expires.is_some_and(|expires| expires <= now) => Err(TokenRefusal::Expired),
            Some(token) => Ok(token),
        }
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_line(line: &str) -> Result<Token, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(digest), Some(agents)) = (words.next(), words.next(), words.next()) else {
        return Err("a line is `<name> <sha256-hex> <agent-uuid,…|*> [expires RFC 3339]`");
    };
    let expires = match words.next() {
        None => None,
        Some(text) => {
            let at = Timestamp::parse(text, Rounding::Down);
            Some(at.ok_or("the expiry must be RFC 3339, such as 2027-01-01T00:00:00Z")?)
        }
    };
    if words.next().is_some() {
        return Err("the line has more than name, digest, agents and expiry");
    }
    if !is_name(name) {
        return Err(BAD_NAME);
    }
    let sha256 = unhex(digest).ok_or("the digest must be the token's SHA-256 in 64 hexadecimal digits")?;
    let agents = Agents::parse(agents).ok_or("the agents must be UUIDs separated by commas, or `*`")?;
    Ok(Token { name: name.into(), sha256, agents, expires })
}

impl Agents {
    /// Parses UUIDs separated by commas, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => Some(Self::All),
            list => list.split(',').map(|id| id.trim().parse().ok()).collect::<Option<_>>().map(Self::Some),
        }
    }

    /// Whether the agent is allowed.
    pub fn include(&self, agent: AgentId) -> bool {
        match self {
            Self::All => true,
            Self::Some(agents) => agents.contains(&agent),
        }
    }
}

/// Formats the agents as in the file.
impl fmt::Display for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Some(agents) => {
                let texts: Vec<_> = agents.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

impl fmt::Display for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl NewToken {
    /// The token itself, to be shown once.
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing into a string can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = &text[2 * at..2 * at + 2];
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "6f9619ff-8b86-d011-b42d-00cf4fc964ff";

    fn instant(text: &str) -> Timestamp {
        Timestamp::parse(text, Rounding::Down).unwrap()
    }

    #[test]
    fn the_line_of_a_new_token_accepts_it_until_it_expires() {
        let expires = instant("2027-01-01T00:00:00Z");
        let new = new_token("desk", &Agents::parse(AGENT).unwrap(), Some(expires)).unwrap();
        let tokens = Tokens::parse(&format!("# ours\n\n{new} # the desk\n")).unwrap();
        let token = tokens.find(new.expose(), expires.previous()).unwrap();
        assert_eq!((&*token.name, token.agents.to_string().as_str()), ("desk", AGENT));
        assert_eq!(tokens.find(new.expose(), expires).unwrap_err(), TokenRefusal::Expired);
        assert_eq!(tokens.find("ff_other", expires.previous()).unwrap_err(), TokenRefusal::Unknown);
    }

    #[test]
    fn no_two_tokens_are_equal() {
        let new = || new_token("a", &Agents::All, None).unwrap();
        assert_ne!(new().expose(), new().expose());
        assert!(new_token("two words", &Agents::All, None).is_err());
    }

    #[test]
    fn reports_every_bad_line_with_its_number() {
        let digest = "0".repeat(64);
        let text = format!(
            "# a comment\nfine {digest} *\nshort {digest}\nbad/name {digest}1 *\nd 12 *\ne {} {AGENT},x\n\
             f {} * tomorrow\nfine {} *\ng {} * 2027-01-01T00:00:00Z more\n",
            "1".repeat(64),
            "2".repeat(64),
            "3".repeat(64),
            "4".repeat(64),
        );
        let BadTokens(faults) = Tokens::parse(&text).unwrap_err();
        assert_eq!(faults.iter().map(|f| f.line).collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9]);
        assert!(faults[0].to_string().starts_with("line 3: a line is"));
    }

    #[test]
    fn a_digest_is_hexadecimal() {
        assert!(unhex(&"aF".repeat(32)).is_some());
        assert!(unhex(&"+1".repeat(32)).is_none());
        assert!(unhex(&"é".repeat(32)).is_none());
    }
}
