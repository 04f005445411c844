//! The scripted upstream as the engine sees it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::DAY;
use super::script::{Script, unavailable, words};
use crate::domain::{AgentFacts, AgentId, Caller, Credential, CredentialId, Page, PageOf};
use crate::source::{
    Headroom, RelayedPage, RequestContext, Source, SourceError, SourceFuture, Subject, Urgency,
};

/// A request in flight; no longer counted once it is answered or dropped.
struct ScriptFlight<'a>(&'a Script);

impl Drop for ScriptFlight<'_> {
    fn drop(&mut self) {
        self.0.world().in_flight -= 1;
    }
}

impl Script {
    /// Answers from the list as it is halfway through the request.
    async fn listed(
        &self,
        subject: &Subject,
        page: PageOf,
        context: &RequestContext,
    ) -> Result<Page, SourceError> {
        context.sent.mark_sent();
        {
            let mut world = self.world();
            world.in_flight += 1;
            world.most_in_flight = world.most_in_flight.max(world.in_flight);
            world.asked.push((subject.filters.clone(), page));
            world.keys.push(subject.credential.expose_key().to_owned());
        }
        let _flight = ScriptFlight(self);
        let jitter = self.world().jitter();
        tokio::time::sleep(self.latency / 2 + jitter).await;
        while self.held.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let now = self.now();
        let answer = {
            let mut world = self.world();
            world.answered += 1;
            let number = world.answered;
            if world.agent_refused == Some(404) && world.refuses_only == Some(subject.agent) {
                Err(SourceError::AgentNotFound(words(404)))
            } else if let Some(error) = world.refuse.as_mut().and_then(|refuse| refuse(number)) {
                Err(error)
            } else {
                if let Some(mut hook) = world.before_page.take() {
                    hook(&mut world, now);
                    world.before_page.get_or_insert(hook);
                }
                Ok(world.page(&subject.filters, page, now))
            }
        };
        let jitter = self.world().jitter();
        tokio::time::sleep(self.latency / 2 + jitter).await;
        answer
    }
}

impl Source for Script {
    fn page<'a>(
        &'a self,
        subject: &'a Subject,
        page: PageOf,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, Page> {
        Box::pin(async move {
            let bent = &self.bent;
            let _asking = bent.begin();
            bent.stays_up(context).await?;
            let number = bent.next_number();
            let delay = (bent.before)(subject, page, number)?;
            let back = (bent.back)(subject, page, number)?;
            if !delay.is_zero() {
                let _waits = context.budget_clock.wait();
                tokio::time::sleep(delay).await;
            }
            let _goes = context.budget_clock.go();
            (bent.served)(page);
            let mut page = self.listed(subject, page, context).await?;
            if !back.is_zero() {
                tokio::time::sleep(back).await;
            }
            (bent.after)(&mut page);
            Ok(page)
        })
    }

    fn agent<'a>(
        &'a self,
        _: &'a Credential,
        agent: AgentId,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, AgentFacts> {
        Box::pin(async move {
            let _asking = self.bent.begin();
            self.bent.stays_up(context).await?;
            let left = context.deadline.as_ref().map_or(DAY, |d| d.instant() - Instant::now());
            if left < self.bent.check {
                tokio::time::sleep(left).await;
                return Err(SourceError::TimedOut);
            }
            tokio::time::sleep(self.bent.check + self.latency).await;
            let mut world = self.world();
            world.checks += 1;
            let is_meant = world.refuses_only.is_none_or(|only| only == agent);
            match world.agent_refused.filter(|_| is_meant) {
                Some(404) => Err(SourceError::AgentNotFound(words(404))),
                Some(500..) => Err(unavailable()),
                Some(status) => Err(SourceError::Denied(words(status))),
                None => Ok(AgentFacts {
                    created_at: world.born.or_else(|| world.rows.iter().map(|row| row.created_at).min()),
                }),
            }
        })
    }

    fn agents<'a>(
        &'a self,
        _: &'a Credential,
        _: &'a RequestContext,
    ) -> SourceFuture<'a, Vec<(AgentId, AgentFacts)>> {
        Box::pin(async move {
            tokio::time::sleep(self.latency).await;
            let mut world = self.world();
            world.lists += 1;
            let created_at = world.born.or_else(|| world.rows.iter().map(|row| row.created_at).min());
            match world.list_refused {
                Some(401 | 403) => Err(SourceError::Denied(words(403))),
                Some(404) => Err(SourceError::AgentNotFound(words(404))),
                Some(_) => Err(unavailable()),
                None => Ok(world.listed.iter().map(|agent| (*agent, AgentFacts { created_at })).collect()),
            }
        })
    }

    fn user<'a>(&'a self, _: &'a Credential, _: &'a RequestContext) -> SourceFuture<'a, ()> {
        Box::pin(async move {
            let _asking = self.bent.begin();
            tokio::time::sleep(self.latency).await;
            let mut world = self.world();
            world.user_checks += 1;
            match world.user_refused {
                Some(status @ (401 | 403)) => Err(SourceError::Denied(words(status))),
                Some(404) => Err(SourceError::AgentNotFound(words(404))),
                Some(_) => Err(unavailable()),
                None => Ok(()),
            }
        })
    }

    fn relay<'a>(
        &'a self,
        _: &'a Credential,
        _: AgentId,
        query: &'a str,
        context: &'a RequestContext,
    ) -> SourceFuture<'a, RelayedPage> {
        Box::pin(async move {
            let _asking = self.bent.begin();
            self.bent.stays_up(context).await?;
            let Some(relays) = &self.bent.relays else {
                return Ok(RelayedPage { body: query.to_owned().into(), page: None });
            };
            let (delay, body) = relays(self.bent.next_number())?;
            tokio::time::sleep(delay).await;
            let page = Page { rows: Vec::new(), has_more: false, has_flag: true, total: None };
            Ok(RelayedPage { body: body.into(), page: Some(page) })
        })
    }

    fn room(&self, _: CredentialId, _: Caller) -> Headroom {
        if self.is_short.load(Ordering::Relaxed) { Headroom::Short } else { Headroom::Ample }
    }

    fn room_for(&self, _: CredentialId, _: Caller, _: Urgency, requests: u64) -> Duration {
        self.world().a_request_takes * u32::try_from(requests).unwrap()
    }

    fn clock_ahead_micros(&self) -> i64 {
        self.learned_ahead()
    }
}
