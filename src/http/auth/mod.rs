//! Authenticates callers, and picks the credential that is sent upstream for them.
//!
//! There are two modes. **Pass-through**: callers send upstream's own keys, which upstream checks; the
//! gateway only derives a name from each key. **Held**: the gateway holds one upstream key, and callers send
//! tokens; each token is valid for some agents and may expire. Key and tokens are files that are re-read when
//! they change, so neither a new caller nor a rotated key needs a restart.
//!
//! Tokens are random and long, so a single SHA-256 is enough to store them safely, and checking one stays
//! cheap.

mod bearer;
mod tokens;
mod watched;

use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::problem::{Code, ErrorRenderer, ErrorStyle, KeyOwner, Problem};
use crate::domain::{AgentId, CallerId, Credential, CredentialId, Timestamp};

pub use tokens::{Agents, BadToken, BadTokens, NewToken, Tokens, new_token};
use watched::Watched;

/// Authenticates requests.
#[derive(Debug)]
pub enum Authenticator {
    /// Callers send upstream's own keys.
    PassThrough(KeyNames),
    /// Callers send tokens of the gateway.
    Held(HeldKey),
}

/// The name of the held key in the cache. It stays the same when the key is rotated, because the account
/// does.
const HELD: CredentialId = CredentialId::new(*b"the held key\0\0\0\0");

/// Derives names from keys: digests salted with a secret, so that they do not reveal the keys. The secret is
/// the tier's, or lives as long as the process.
pub struct KeyNames([u8; 32]);

/// The gateway's key, and the tokens that may use it.
#[derive(Debug)]
pub struct HeldKey {
    key: Watched<SecretString>,
    tokens: Watched<Tokens>,
}

/// A caller whose credential the gateway accepted. In pass-through mode that is any key: upstream checks it.
#[derive(Clone, Debug)]
pub(crate) struct AuthenticatedCaller {
    /// The token's name in the tokens file; `None` in pass-through mode.
    pub(crate) name: Option<Arc<str>>,
    credential: Credential,
    agents: Agents,
    key: KeyOwner,
}

impl Authenticator {
    /// Accepts upstream's own keys.
    pub fn pass_through() -> Self {
        Self::pass_through_with(rand::random())
    }

    /// Accepts upstream's own keys, and names them with this secret.
    pub const fn pass_through_with(secret: [u8; 32]) -> Self {
        Self::PassThrough(KeyNames(secret))
    }

    /// Holds the upstream key and accepts tokens.
    ///
    /// # Errors
    /// Every fault of either file, as sentences that name the file.
    pub fn held(key_file: &Path, tokens_file: &Path) -> Result<Self, Vec<String>> {
        match (Watched::open(key_file, parse_key), Watched::open(tokens_file, parse_tokens)) {
            (Ok(key), Ok(tokens)) => Ok(Self::Held(HeldKey { key, tokens })),
            (key, tokens) => Err(key.err().into_iter().chain(tokens.err()).flatten().collect()),
        }
    }

    /// Finds the caller who sent these headers.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<AuthenticatedCaller, Problem> {
        let presented = bearer::read(headers)?;
        match self {
            Self::PassThrough(names) => Ok(AuthenticatedCaller {
                name: None,
                credential: Credential::new(names.name(presented), presented.to_owned().into()),
                agents: Agents::All,
                key: KeyOwner::Callers,
            }),
            Self::Held(held) => held.authenticate(presented, now()).await,
        }
    }
}

impl HeldKey {
    async fn authenticate(&self, presented: &str, now: Timestamp) -> Result<AuthenticatedCaller, Problem> {
        let token = self.tokens.current().await.find(presented, now).cloned().map_err(|refusal| {
            // One message for both: a guesser must not learn which tokens exist, and a holder can see the
            // date.
            tracing::debug!(target: "fanfold::auth", ?refusal, "A token was refused: {refusal:?}.");
            Problem::new(Code::Unauthenticated, "the token is unknown or has expired")
        })?;
        let key = self.key.current().await.expose_secret().to_owned();
        Ok(AuthenticatedCaller {
            name: Some(token.name),
            credential: Credential::new(HELD, key.into()),
            agents: token.agents,
            key: KeyOwner::Held,
        })
    }
}

impl AuthenticatedCaller {
    /// The credential to send upstream for requests about an agent.
    pub(crate) fn credential_for(&self, agent: AgentId) -> Result<Credential, Problem> {
        if self.agents.include(agent) {
            Ok(self.credential.clone())
        } else {
            Err(Problem::new(Code::Forbidden, format!("the token does not allow agent {agent}")))
        }
    }

    /// The credential to send upstream.
    pub(crate) const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The agents that the caller may ask about.
    pub(crate) const fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Whose key is sent upstream.
    pub(crate) const fn key(&self) -> KeyOwner {
        self.key
    }

    /// Identifies the caller when shares are counted.
    pub(crate) fn id(&self) -> CallerId {
        self.name.as_ref().map_or_else(
            || CallerId::Key(self.credential.id()),
            |name| CallerId::Token(first_half(&Sha256::digest(name.as_bytes()))),
        )
    }

    /// Renders errors for this caller.
    pub(crate) const fn renderer(&self, style: ErrorStyle) -> ErrorRenderer {
        ErrorRenderer { style, key: self.key }
    }
}

impl KeyNames {
    fn name(&self, key: &str) -> CredentialId {
        let digest = Sha256::new().chain_update(self.0).chain_update(key).finalize();
        CredentialId::new(first_half(&digest))
    }
}

fn first_half(digest: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// Prints no secret: with it, names could be matched to keys.
impl std::fmt::Debug for KeyNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyNames")
    }
}

fn parse_key(text: &str) -> Result<SecretString, Vec<String>> {
    let key = text.trim();
    if bearer::is_credential(key) {
        Ok(key.to_owned().into())
    } else {
        Err(vec!["it must contain exactly one key, on one line".to_owned()])
    }
}

fn parse_tokens(text: &str) -> Result<Tokens, Vec<String>> {
    Tokens::parse(text).map_err(|BadTokens(faults)| faults.iter().map(ToString::to_string).collect())
}

fn now() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(0).plus(since_1970)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn bearer(token: &str) -> HeaderMap {
        [(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())]
            .into_iter()
            .collect()
    }

    fn agent(last: u128) -> AgentId {
        AgentId::new(uuid::Uuid::from_u128(last))
    }

    /// Files that are deleted with the test.
    struct Files(std::path::PathBuf);

    impl Files {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("fanfold-auth-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&dir).unwrap();
            Self(dir)
        }

        fn put(&self, name: &str, text: &str) -> std::path::PathBuf {
            // Renamed into place, as Kubernetes does: never half a file, and another inode.
            let (written, path) = (self.0.join("new"), self.0.join(name));
            std::fs::write(&written, text).unwrap();
            std::fs::rename(&written, &path).unwrap();
            path
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_key_has_a_different_name_in_each_process() {
        let name = async |authenticator: &Authenticator, key| {
            authenticator.authenticate(&bearer(key)).await.unwrap().credential_for(agent(1)).unwrap().id()
        };
        let (one, other) = (Authenticator::pass_through(), Authenticator::pass_through());
        assert_eq!(name(&one, "bn-1").await, name(&one, "bn-1").await);
        assert_ne!(name(&one, "bn-1").await, name(&one, "bn-2").await);
        assert_ne!(name(&one, "bn-1").await, name(&other, "bn-1").await);
    }

    #[tokio::test]
    async fn a_token_allows_only_its_agents() {
        let files = Files::new();
        let NewToken { line, token } = new_token("a", &Agents::Some([agent(1)].into()), None).unwrap();
        let authenticator =
            Authenticator::held(&files.put("key", "bn-1\n"), &files.put("tokens", &line)).unwrap();
        let caller = authenticator.authenticate(&bearer(token.expose_secret())).await.unwrap();
        let credential = caller.credential_for(agent(1)).unwrap();
        assert_eq!((credential.id(), credential.expose_key()), (HELD, "bn-1"));
        assert_eq!(caller.credential_for(agent(2)).unwrap_err().code, Code::Forbidden);
        assert_eq!(
            authenticator.authenticate(&bearer("ff_unknown")).await.unwrap_err().code,
            Code::Unauthenticated
        );
    }

    #[tokio::test(start_paused = true)]
    async fn rereads_changed_files_and_ignores_broken_ones() {
        let files = Files::new();
        let new = |name| new_token(name, &Agents::All, None).unwrap();
        let (old, young) = (new("old"), new("young"));
        let authenticator =
            Authenticator::held(&files.put("key", "bn-1"), &files.put("tokens", &old.line)).unwrap();
        let key = async |token: &NewToken| {
            let caller = authenticator.authenticate(&bearer(token.token.expose_secret())).await.ok()?;
            Some(caller.credential_for(agent(1)).unwrap().expose_key().to_owned())
        };
        files.put("key", "bn-2");
        files.put("tokens", &young.line);
        tokio::time::advance(watched::CHECK_EVERY).await;
        assert_eq!(key(&old).await, None);
        assert_eq!(key(&young).await.as_deref(), Some("bn-2"));

        files.put("key", "two words");
        files.put("tokens", "nonsense");
        tokio::time::advance(watched::CHECK_EVERY).await;
        assert_eq!(key(&young).await.as_deref(), Some("bn-2"));
    }

    #[test]
    fn reports_every_fault_of_both_files() {
        let files = Files::new();
        let tokens = files.put("tokens", "nonsense\n# fine\nmore nonsense");
        let faults = Authenticator::held(&files.0.join("missing"), &tokens).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(
            faults[0].contains("missing") && faults[1].contains("line 1") && faults[2].contains("line 3")
        );
    }
}
