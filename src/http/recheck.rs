//! Checks whether the caller of a running response may still read its rows.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};
use tokio::time::sleep;

use super::App;
use super::authorized::{AuthorizedRequest, section_problem};
use super::problem::{ErrorRenderer, Problem};
use crate::domain::{AgentId, Caller};
use crate::engine::SectionError;
use crate::telemetry::Trace;

/// How often a running response is checked.
const EVERY: Duration = Duration::from_mins(1);

/// The earliest check after the start of a response. Most responses are over by then.
const AT_LEAST: Duration = Duration::from_secs(1);

/// Checks the caller of a running response once a minute.
pub(super) struct Recheck {
    app: Arc<App>,
    /// Only the credential.
    headers: HeaderMap,
    caller: Caller,
    /// Those that the response is about.
    agents: Vec<AgentId>,
    renderer: ErrorRenderer,
    trace: Trace,
    due_in: Duration,
}

impl Recheck {
    /// For a response to this request about these agents, which was sent with these headers.
    pub(super) fn new(
        app: &Arc<App>,
        authorized: &AuthorizedRequest,
        agents: Vec<AgentId>,
        headers: &HeaderMap,
    ) -> Self {
        let credential = headers.get_all(header::AUTHORIZATION).iter();
        let headers = credential.map(|value| (header::AUTHORIZATION, value.clone())).collect();
        let AuthorizedRequest { caller, agent: _, renderer, ref credential, ref request_log } = *authorized;
        let trusted = agents.iter().map(|agent| app.engine.trusted_for(credential.id(), *agent));
        let due_in = trusted.min().unwrap_or(EVERY).clamp(AT_LEAST, EVERY);
        Self {
            app: Arc::clone(app),
            headers,
            caller,
            agents,
            renderer,
            trace: request_log.trace.clone(),
            due_in,
        }
    }

    /// Waits until the caller's token is removed or expired, or upstream refuses its key for the agent.
    ///
    /// Dropping it cancels a running check, unless other responses wait for it.
    pub(super) async fn refused(mut self) -> Problem {
        loop {
            sleep(self.due_in).await;
            match self.check().await {
                Ok(due_in) => self.due_in = due_in.clamp(AT_LEAST, EVERY),
                Err(problem) => return problem,
            }
        }
    }

    async fn check(&self) -> Result<Duration, Problem> {
        let caller = self.app.authenticator.authenticate(&self.headers).await?;
        // Use the key that the gateway holds now: it may have been replaced since the response began.
        self.agents.iter().try_for_each(|agent| caller.credential_for(*agent).map(drop))?;
        let credential = caller.credential();
        let check = self.app.engine.check_again(self.caller, credential, &self.agents, self.trace.clone());
        check.await.map_err(|SectionError { agent, error }| match &*self.agents {
            [_] => self.renderer.problem(&error),
            _ => section_problem(self.renderer, agent, &error),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tokio::time::{Instant, advance, timeout};

    use super::*;
    use crate::domain::CredentialId;
    use crate::http::auth::{Agents, Authenticator, NewToken, new_token};
    use crate::http::problem::{Code, ErrorStyle, KeyOwner};
    use crate::http::testing::engine;
    use crate::http::{HttpSettings, Observer};
    use crate::shutdown::Shutdown;
    use crate::telemetry::Tracer;

    /// Files that are deleted with the test.
    struct RecheckFiles(std::path::PathBuf);

    impl RecheckFiles {
        fn new() -> Self {
            let dir = std::env::temp_dir().join(format!("fanfold-recheck-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("key"), "bn-1").unwrap();
            Self(dir)
        }

        fn write_tokens(&self, lines: &str) {
            std::fs::write(self.0.join("new"), lines).unwrap();
            std::fs::rename(self.0.join("new"), self.0.join("tokens")).unwrap();
        }

        fn recheck(&self, token: &NewToken) -> Recheck {
            let shutdown = Shutdown::default();
            let authenticator = Authenticator::held(&self.0.join("key"), &self.0.join("tokens")).unwrap();
            let engine = engine(&shutdown);
            let settings = HttpSettings {
                max_json_bytes: 1 << 20,
                request_deadline: EVERY,
                max_questions: 1,
                cors_origins: Vec::new(),
            };
            let observer = Observer { observe: Arc::new(|_| {}), tracer: Tracer::default() };
            let app = Arc::new(App::new(engine, authenticator, settings, shutdown, observer));
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose())).unwrap();
            Recheck {
                app,
                headers: [(header::AUTHORIZATION, bearer)].into_iter().collect(),
                caller: Caller::of_key(CredentialId::new([1; 16])),
                agents: vec![AgentId::new(uuid::Uuid::from_u128(7))],
                renderer: ErrorRenderer { style: ErrorStyle::Own, key: KeyOwner::Held },
                trace: Trace::default(),
                due_in: EVERY,
            }
        }
    }

    impl Drop for RecheckFiles {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_removed_ends_a_running_response_within_a_minute() {
        let (files, token) = (RecheckFiles::new(), new_token("a", &Agents::All, None).unwrap());
        files.write_tokens(&token.line);
        let refused = files.recheck(&token).refused();
        tokio::pin!(refused);
        assert!(timeout(10 * EVERY, &mut refused).await.is_err(), "a good token is checked and passes");
        files.write_tokens("");
        let removed_at = Instant::now();
        let problem = refused.await;
        assert_eq!(problem.code, Code::Unauthenticated);
        assert!(removed_at.elapsed() <= EVERY, "{:?}", removed_at.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_loses_its_agent_ends_a_running_response() {
        let (files, token) = (RecheckFiles::new(), new_token("a", &Agents::All, None).unwrap());
        files.write_tokens(&token.line);
        let recheck = files.recheck(&token);
        files.write_tokens(&token.line.replace('*', "6f9619ff-8b86-d011-b42d-00cf4fc964ff"));
        advance(EVERY).await;
        assert_eq!(recheck.refused().await.code, Code::Forbidden);
    }
}
