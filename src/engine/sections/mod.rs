//! Several agents in one response: one section after another, in ascending order of id.
//!
//! A section is the same [`Answer`] as that to a question about one agent, and costs upstream the same. A few
//! agents are requested at once, in the order of the sections. All of them share one fan-out of pages and one
//! turn at the budget.
//!
//! A collected response takes each answer as a whole ([`Sections::whole`]). A stream delivers one section
//! while the next few are opened: the key is checked for their agents, and their first pages are requested.
//! An opened answer holds at most a fan-out of pages; its known rows stay in the cache until its turn comes.

mod admission;
mod leniency;
mod merge;
mod opener;
mod window;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, iter};
use tokio::time::{Instant, timeout_at};

pub use self::admission::ListQuestion;
pub(super) use self::admission::{check_again, listed};
use self::leniency::Leniency;
use self::merge::merged;
pub use self::merge::{ListState, SectionVerdict};
use self::opener::{AT_ONCE, Opener};
pub use self::opener::{SectionAgents, SectionError};
use self::window::{Outcome, Window};
use super::access::KnownAccess;
use super::answer::Answer;
use super::ask::{FirstRows, ResponseShare, ask_within};
use super::state::SharedState;
use super::terms::{AskError, Question, ResponseMode, RowNeed, Verdict};
use crate::domain::{AgentId, EntrySlice, Timestamp};
use crate::source::SourceError;

/// How long a stream whose first rows are ready waits for the verdict on the next section, if the caller does
/// not want it first: long enough to look up known data, shorter than any round trip.
const KNOWN_WITHIN: Duration = Duration::from_millis(10);

/// The shortest pause between two looks at the clock, as within one answer.
const PAUSE: Duration = Duration::from_millis(100);

/// A response over several agents, in progress.
///
/// Dropping it cancels the reads that no other response waits for.
pub struct Sections {
    opener: Opener,
    waiting: std::vec::IntoIter<AgentId>,
    window: Window,
    /// The section that is being delivered; `None` between two sections.
    current: Option<(AgentId, Answer)>,
    ended: Vec<SectionVerdict>,
    /// The verdict, if it is certain before any row is taken.
    from_cache: Option<SectionsVerdict>,
}

/// A response over several agents, in progress, whose sections are taken as a whole.
pub struct WholeSections<T> {
    opener: Opener,
    taken: BoxStream<'static, (AgentId, Result<T, AskError>)>,
    leniency: Leniency,
}

/// The next event of a response that is delivered section by section.
#[derive(Debug)]
pub enum SectionItem {
    /// The rows of this agent follow, if it has any.
    Begins(AgentId),
    /// The next rows of the section, newest first.
    Rows(EntrySlice),
}

/// A section that was taken as a whole.
#[derive(Debug)]
pub enum SectionOutcome<T> {
    /// The result of its answer.
    Taken(T),
    /// It can't be read, and the question is lenient.
    LeftOut(Verdict),
}

/// The verdicts of a response over several agents.
#[derive(Clone, Debug)]
pub struct SectionsVerdict {
    /// Of all sections together.
    pub whole: Verdict,
    /// Of each delivered section, in order.
    pub sections: Vec<SectionVerdict>,
    /// Of the section that is being delivered.
    pub under_way: Option<SectionVerdict>,
}

/// Whether a stream waits for the verdict on all sections before its first row, if that takes no rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictFirst {
    /// Yes, because the caller may already have these rows.
    Wanted,
    /// Only if it is known without asking upstream.
    IfKnown,
}

impl Sections {
    /// A response to a question about these agents. Nothing is requested yet. The question's own agent is
    /// ignored.
    pub(super) fn new(state: &Arc<SharedState>, question: Question, agents: SectionAgents) -> Self {
        let share = ResponseShare::of_several(&state.parts.settings);
        let waiting = agents.agents.iter().copied().collect::<Vec<_>>().into_iter();
        // Known sections that wait for their turn are looked up again later, and then need their bytes.
        let need = match (question.need, question.mode) {
            (RowNeed::Facts, ResponseMode::Streamed { .. } | ResponseMode::Condensed { .. }) => {
                RowNeed::Bytes
            }
            (need, _) => need,
        };
        let question = Question { need, ..question };
        let (state, question, agents) = (Arc::clone(state), Arc::new(question), Arc::new(agents));
        let opener = Opener { state, question, agents, share };
        let (window, ended) = (Window::default(), Vec::new());
        Self { opener, waiting, window, current: None, ended, from_cache: None }
    }

    /// Requests all agents, a few at once, and applies `take` to each answer.
    ///
    /// # Errors
    /// The first section for which upstream refuses the key, unless the question is lenient.
    pub async fn whole<T, F>(
        self,
        take: impl Fn(AgentId, Answer) -> F + Clone + Send + 'static,
    ) -> Result<WholeSections<T>, SectionError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AskError>> + Send + 'static,
    {
        let Self { opener, waiting, .. } = self;
        opener.admit().await?;
        let leniency = Leniency::of(&opener);
        let own = opener.clone();
        let taken = iter(waiting).map(move |agent| {
            let (opener, take) = (own.clone(), take.clone());
            async move {
                let taken = match opener.open(agent, FirstRows::AtDeadline).await {
                    Ok(answer) => take(agent, answer).await,
                    Err(error) => Err(error),
                };
                (agent, taken)
            }
        });
        Ok(WholeSections { opener, taken: taken.buffered(AT_ONCE).boxed(), leniency })
    }

    /// Waits until the first rows are ready, at most until the question's deadline for them. Then collects
    /// the verdicts of all sections that are known, as long as nothing has to be waited for; see
    /// [`VerdictFirst`].
    ///
    /// # Errors
    /// The first section that can't be read, unless the question is lenient and another one can be.
    pub async fn begin(&mut self, verdict: VerdictFirst) -> Result<(), SectionError> {
        let by = FirstRows::AtDeadline.by(self.opener.question.mode);
        if let Ok(admitted) = timeout_at(by, self.opener.admit()).await {
            admitted?;
        }
        let mut leniency = Leniency::of(&self.opener);
        let mut seen = 0;
        loop {
            self.start(FirstRows::By(by), usize::MAX);
            if seen == self.window.len() {
                break;
            }
            let opened = self.window.until_opened(seen + 1);
            let are_there = match (leniency.has_any, verdict) {
                (false, _) => {
                    opened.await;
                    true
                }
                (true, VerdictFirst::Wanted) => timeout_at(by, opened).await.is_ok(),
                (true, VerdictFirst::IfKnown) => {
                    timeout_at(Instant::now() + KNOWN_WITHIN, opened).await.is_ok()
                }
            };
            let Some((agent, answer)) = self.window.opened().nth(seen).filter(|_| are_there) else { break };
            seen += 1;
            match answer {
                Ok(answer) => {
                    leniency.has_any = true;
                    if answer.from_cache().is_none() {
                        break;
                    }
                }
                Err(error) => leniency.leave_out(agent, error)?,
            }
        }
        if seen == self.opener.agents.agents.len() {
            leniency.end()?;
            self.from_cache = self.known();
        }
        if self.from_cache.is_none() {
            // The rows of later sections stay in the cache until their turn.
            self.window.answers().skip(1).for_each(Answer::set_aside);
        }
        Ok(())
    }

    /// The verdict, if every section is known and complete.
    fn known(&self) -> Option<SectionsVerdict> {
        let section = |(agent, answer): (AgentId, &Outcome)| {
            Some(SectionVerdict { agent, verdict: answer.as_ref().ok()?.from_cache()?.clone() })
        };
        Some(self.opener.verdict(self.window.opened().map(section).collect::<Option<_>>()?))
    }

    /// The verdict, if it is certain before any row is taken, because nothing has to be read.
    pub const fn from_cache(&self) -> Option<&SectionsVerdict> {
        self.from_cache.as_ref()
    }

    /// The next event; `None` at the end, and after an error.
    ///
    /// # Errors
    /// The section that can't be read, unless the question is lenient.
    pub async fn next(&mut self) -> Result<Option<SectionItem>, SectionError> {
        loop {
            if self.current.is_some() {
                match self.rows().await? {
                    Some(rows) => return Ok(Some(SectionItem::Rows(rows))),
                    None => continue,
                }
            }
            let Some((agent, answer)) = self.next_opened().await else { return Ok(None) };
            match answer {
                Ok(answer) => self.current = Some((agent, answer)),
                Err(error) => {
                    Leniency::of(&self.opener).leave_out(agent, &error)?;
                    let verdict = self.opener.left_out(error);
                    self.ended.push(SectionVerdict { agent, verdict });
                }
            }
            return Ok(Some(SectionItem::Begins(agent)));
        }
    }

    /// The next rows of the section in progress; `None` at its end.
    async fn rows(&mut self) -> Result<Option<EntrySlice>, SectionError> {
        self.start(FirstRows::InTime, AT_ONCE);
        let Some((agent, answer)) = &mut self.current else { return Ok(None) };
        let agent = *agent;
        let error = match self.window.during(answer.next()).await {
            Ok(Some(rows)) => return Ok(Some(rows)),
            Ok(None) => None,
            Err(error) => {
                Leniency::of(&self.opener).leave_out(agent, &error)?;
                Some(error)
            }
        };
        let mut verdict = answer.verdict();
        verdict.missing.extend(error.into_iter().flat_map(|error| self.opener.left_out(error).missing));
        self.current = None;
        self.ended.push(SectionVerdict { agent, verdict });
        Ok(None)
    }

    /// The next answer. The wait for it has the same limit as that for the next row of an answer: waits for
    /// the budget do not count.
    async fn next_opened(&mut self) -> Option<(AgentId, Outcome)> {
        self.start(FirstRows::InTime, AT_ONCE);
        let ResponseMode::Streamed { row_wait } = self.opener.question.mode else { return None };
        let clock = &self.opener.share.budget_clock;
        let (start, before) = (Instant::now(), clock.waited());
        let mut until = start + row_wait;
        while timeout_at(until, self.window.until_opened(1)).await.is_err() {
            let moved = start + row_wait + clock.waited().saturating_sub(before);
            let now = Instant::now();
            if moved <= now {
                return self.window.give_up().map(|agent| (agent, Err(SourceError::TimedOut.into())));
            }
            until = moved.max(now + PAUSE);
        }
        self.window.pop()
    }

    /// Requests the next agents, a few at once, until this many are ready before their turn.
    fn start(&mut self, first_rows: FirstRows, ahead: usize) {
        while self.window.opening() < AT_ONCE
            && self.window.len() < ahead
            && let Some(agent) = self.waiting.next()
        {
            let opener = self.opener.clone();
            let answer = async move {
                let mut answer = opener.open(agent, first_rows).await;
                // Before the response begins, all of it may turn out to be known.
                if let (Ok(answer), FirstRows::InTime) = (&mut answer, first_rows) {
                    answer.set_aside();
                }
                answer
            };
            self.window.push(agent, Box::pin(answer));
        }
    }

    /// The verdict of the response: on all of it once [`next`](Self::next) returned `None`, and on what was
    /// delivered before that.
    pub fn verdict(&self) -> SectionsVerdict {
        let under_way = self.current.as_ref();
        let under_way =
            under_way.map(|(agent, answer)| SectionVerdict { agent: *agent, verdict: answer.verdict() });
        let begun = self.opener.verdict(self.ended.iter().cloned().chain(under_way.clone()).collect());
        SectionsVerdict { sections: self.ended.clone(), under_way, ..begun }
    }
}

impl<T> WholeSections<T> {
    /// The result of the next section, in order; `None` at the end.
    ///
    /// # Errors
    /// The section that can't be read, unless the question is lenient and another one can be.
    pub async fn next(&mut self) -> Result<Option<(AgentId, SectionOutcome<T>)>, SectionError> {
        match self.taken.next().await {
            None => self.leniency.end().map(|()| None),
            Some((agent, Ok(taken))) => {
                self.leniency.has_any = true;
                Ok(Some((agent, SectionOutcome::Taken(taken))))
            }
            Some((agent, Err(error))) => {
                self.leniency.leave_out(agent, &error)?;
                Ok(Some((agent, SectionOutcome::LeftOut(self.opener.left_out(error)))))
            }
        }
    }

    /// The verdict of the response for these verdicts of its sections.
    pub fn verdict(&self, sections: Vec<SectionVerdict>) -> SectionsVerdict {
        self.opener.verdict(sections)
    }
}

impl Opener {
    /// Requests one of the agents.
    async fn open(&self, agent: AgentId, first_rows: FirstRows) -> Outcome {
        let credential = self.question.credential.id();
        if matches!(self.state.access.known(credential, agent), KnownAccess::Unknown) {
            // In a long response, the acceptance of many keys expires at once. A refusal concerns only this
            // section.
            let _refused = self.admit().await;
        }
        let question = Question { agent, ..Question::clone(&self.question) };
        ask_within(&self.state, question, &self.share, first_rows).await
    }

    fn verdict(&self, sections: Vec<SectionVerdict>) -> SectionsVerdict {
        SectionsVerdict {
            whole: merged(self.as_of(), self.agents.list, &sections),
            sections,
            under_way: None,
        }
    }

    /// The instant up to which a response without rows is complete.
    fn as_of(&self) -> Timestamp {
        let parts = &self.state.parts;
        let proven = parts.clock.upstream_now(&*parts.source).minus(parts.settings.commit_lag);
        self.question.to.map_or(proven, |to| to.min(proven))
    }
}

impl std::fmt::Debug for Sections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sections").field("ended", &self.ended.len()).finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for WholeSections<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeSections").finish_non_exhaustive()
    }
}
