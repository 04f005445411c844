//! Several agents in one response: their requests, their verdicts, and agents that can't be read.

use super::*;
use crate::source::SourceError;

fn agents(numbers: &[u128]) -> SectionAgents {
    SectionAgents::named(numbers.iter().map(|number| AgentId::new(Uuid::from_u128(*number))).collect())
}

fn agent(number: u128) -> AgentId {
    AgentId::new(Uuid::from_u128(number))
}

impl Rig {
    /// Ids and versions of the rows of each section, and the verdict.
    async fn sections(
        &self,
        question: Question,
        agents: SectionAgents,
    ) -> Result<(Vec<(AgentId, Vec<(String, u32)>)>, SectionsVerdict), SectionError> {
        let take = async |_, answer: Answer| answer.collect(u64::MAX).await;
        let mut whole = self.engine.sections(question, agents).whole(take).await?;
        let (mut sections, mut verdicts) = (Vec::new(), Vec::new());
        while let Some((agent, outcome)) = whole.next().await? {
            let (rows, verdict) = match outcome {
                SectionOutcome::Taken(taken) => (taken.slices.iter().flat_map(rows).collect(), taken.verdict),
                SectionOutcome::LeftOut(verdict) => (Vec::new(), verdict),
            };
            sections.push((agent, rows));
            verdicts.push(SectionVerdict { agent, verdict });
        }
        Ok((sections, whole.verdict(verdicts)))
    }

    fn streamed(&self) -> Question {
        bent::streamed(self.question())
    }

    /// As [`sections`](Self::sections), taken as a stream.
    async fn streamed_sections(
        &self,
        question: Question,
        agents: SectionAgents,
    ) -> Result<Vec<(AgentId, Vec<(String, u32)>)>, SectionError> {
        let mut response = self.engine.sections(question, agents);
        response.begin(VerdictFirst::IfKnown).await?;
        let mut sections: Vec<(AgentId, Vec<_>)> = Vec::new();
        while let Some(item) = response.next().await? {
            match item {
                SectionItem::Begins(agent) => sections.push((agent, Vec::new())),
                SectionItem::Rows(slice) => sections.last_mut().unwrap().1.extend(rows(&slice)),
            }
        }
        assert_eq!(response.verdict().sections.len(), sections.len());
        Ok(sections)
    }

    /// How often agents were checked, and their list read, since the last call.
    fn checked(&self) -> (usize, usize) {
        let mut world = self.script.world();
        (std::mem::take(&mut world.checks), std::mem::take(&mut world.lists))
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_agents_cost_the_same_together_as_one_by_one() {
    let single = Rig::new(settings(), 1).with_history(300, 20);
    for number in [1, 2, 3] {
        single.rows(Question { agent: agent(number), ..single.question() }).await;
    }
    let several = Rig::new(settings(), 1).with_history(300, 20);
    let (sections, verdict) = several.sections(several.question(), agents(&[1, 2, 3])).await.unwrap();
    assert_eq!((several.requests(), several.checked()), (single.requests(), single.checked()));
    let truth = several.truth(&several.question());
    assert_eq!(sections, [1, 2, 3].map(|number| (agent(number), truth.clone())));
    assert_eq!((verdict.whole.count, verdict.whole.is_complete()), (900, true));
    let (again, _) = several.sections(several.question(), agents(&[1, 2, 3])).await.unwrap();
    assert_eq!((again, several.requests(), several.checked()), (sections, 0, (0, 0)));
    single.close().await;
    several.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_the_same_sections_for_the_same_requests() {
    let numbers: Vec<u128> = (1..=20).collect();
    let rig = Rig::new(settings(), 2).with_history(300, 20);
    rig.script.world().listed = numbers.iter().map(|number| agent(*number)).collect();
    let sections = rig.streamed_sections(rig.streamed(), agents(&numbers)).await.unwrap();
    let requests = rig.requests();
    let truth = rig.truth(&rig.question());
    let expected: Vec<_> = numbers.iter().map(|number| (agent(*number), truth.clone())).collect();
    assert!(sections == expected);
    assert!(rig.script.world().most_in_flight <= 8, "all agents share one fan-out");
    let other = Rig::new(settings(), 2).with_history(300, 20);
    other.script.world().listed = numbers.iter().map(|number| agent(*number)).collect();
    other.sections(other.question(), agents(&numbers)).await.unwrap();
    assert_eq!((requests, rig.checked()), (other.requests(), other.checked()));
    rig.close().await;
    other.close().await;
}

#[tokio::test(start_paused = true)]
async fn many_agents_are_checked_with_one_list() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    let numbers: Vec<u128> = (1..=12).collect();
    rig.script.world().listed = numbers.iter().map(|number| agent(*number)).collect();
    rig.sections(rig.question(), agents(&numbers)).await.unwrap();
    assert_eq!(rig.checked(), (0, 1));
    pass(70 * SECOND).await;
    rig.sections(rig.question(), agents(&numbers)).await.unwrap();
    let (checks, lists) = rig.checked();
    assert!(checks + lists <= 1, "pages count as well: {checks} checks, {lists} lists");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_the_list_does_not_name_is_refused_before_any_page_is_read() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    {
        let mut world = rig.script.world();
        world.listed = (1..=9).map(agent).collect();
        (world.agent_refused, world.refuses_only) = (Some(404), Some(agent(10)));
    }
    let numbers: Vec<u128> = (1..=10).collect();
    let refused = rig.sections(rig.question(), agents(&numbers)).await.unwrap_err();
    assert_eq!(refused.agent, agent(10));
    assert!(matches!(refused.error, AskError::Source(SourceError::AgentNotFound(_))));
    assert_eq!(rig.requests(), 0);
    let lenient = Question { tolerance: Tolerance::Lenient, ..rig.question() };
    let (sections, verdict) = rig.sections(lenient.clone(), agents(&numbers)).await.unwrap();
    let complete: Vec<bool> = verdict.sections.iter().map(|section| section.verdict.is_complete()).collect();
    assert_eq!(complete, [[true; 9].as_slice(), &[false]].concat());
    assert_eq!((sections[9].1.len(), verdict.whole.count, verdict.whole.is_complete()), (0, 90, false));
    let streamed = Question { tolerance: Tolerance::Lenient, ..rig.streamed() };
    assert!(rig.streamed_sections(streamed, agents(&numbers)).await.unwrap() == sections);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_lenient_response_without_any_section_is_a_refusal() {
    for count in [2, 9] {
        let rig = Rig::new(settings(), 1).with_history(10, 2);
        rig.script.world().agent_refused = Some(403);
        rig.script.world().list_refused = Some(403);
        let numbers: Vec<u128> = (1..=count).collect();
        let lenient = Question { tolerance: Tolerance::Lenient, ..rig.question() };
        let refused = rig.sections(lenient, agents(&numbers)).await.unwrap_err();
        assert!(matches!(refused.error, AskError::Source(SourceError::Denied(_))));
        let streamed = Question { tolerance: Tolerance::Lenient, ..rig.streamed() };
        let refused = rig.streamed_sections(streamed, agents(&numbers)).await.unwrap_err();
        assert_eq!(refused.agent, agent(1));
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_verdict_of_known_sections_precedes_the_first_row() {
    let rig = Rig::new(settings(), 1).with_history(120, 9);
    let (_, read) = rig.sections(rig.question(), agents(&[1, 2])).await.unwrap();
    for verdict in [VerdictFirst::IfKnown, VerdictFirst::Wanted] {
        let mut known = rig.engine.sections(rig.streamed(), agents(&[1, 2]));
        known.begin(verdict).await.unwrap();
        assert_eq!(known.from_cache().unwrap().whole.digest, read.whole.digest);
    }
    // The second section needs a page now, which is waited for only if the verdict is wanted.
    for (verdict, is_known) in [(VerdictFirst::IfKnown, false), (VerdictFirst::Wanted, true)] {
        pass(30 * SECOND).await;
        rig.rows(Question { agent: agent(1), ..rig.question() }).await;
        let mut due = rig.engine.sections(rig.streamed(), agents(&[1, 2]));
        due.begin(verdict).await.unwrap();
        assert_eq!(due.from_cache().is_some(), is_known, "{verdict:?}");
    }
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn sections_that_wait_for_their_turn_hold_no_rows() {
    let rig = Rig::new(settings(), 1).with_history(400, 20);
    let numbers: Vec<u128> = (1..=6).collect();
    rig.script.world().listed = numbers.iter().map(|number| agent(*number)).collect();
    rig.sections(rig.question(), agents(&numbers[1..])).await.unwrap();
    rig.requests();
    // The first section is not known, so the others are opened while it is read.
    let mut response = rig.engine.sections(rig.streamed(), agents(&numbers));
    response.begin(VerdictFirst::IfKnown).await.unwrap();
    assert!(response.from_cache().is_none());
    while let Some(item) = response.next().await.unwrap() {
        if matches!(item, SectionItem::Begins(agent) if agent == self::agent(2)) {
            break;
        }
    }
    assert_eq!(rig.engine.response_bytes(), 0);
    let mut rows = 0;
    while let Some(item) = response.next().await.unwrap() {
        rows += if let SectionItem::Rows(slice) = item { slice.len() } else { 0 };
    }
    assert_eq!(rows, 5 * 400);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_agent_is_refreshed_less_often_in_a_response_for_several() {
    let settings = EngineSettings { live_ttl: 10 * SECOND, settling_ttl: 120 * SECOND, ..settings() };
    let rig = Rig::new(settings, 1);
    rig.script.world().insert(NOW.minus(DAY), "completed");
    let ask = async || {
        rig.sections(rig.question(), agents(&[1, 2])).await.unwrap();
        rig.requests()
    };
    ask().await;
    for _ in 0..3 {
        pass(30 * SECOND).await;
        assert_eq!(ask().await, 0);
    }
    let alone = Question { agent: agent(1), ..rig.question() };
    rig.rows(alone).await;
    assert_eq!(rig.requests(), 1, "on its own it is refreshed as usual");
    pass(31 * SECOND).await;
    assert_eq!(ask().await, 1, "the other agent is refreshed within the settling time to live");
    // A call in progress, or one that was just created, ends the quiet.
    rig.script.world().insert(rig.clock.now(), "in-progress");
    pass(121 * SECOND).await;
    ask().await;
    pass(11 * SECOND).await;
    assert_eq!(ask().await, 2);
    rig.close().await;
}

fn list_question(rig: &Rig) -> ListQuestion {
    let Question { caller, credential, directives, trace, .. } = rig.question();
    ListQuestion { caller, credential, directives, deadline: Instant::now() + 50 * SECOND, trace }
}

#[tokio::test(start_paused = true)]
async fn the_list_of_agents_is_read_once_a_minute_and_counts_as_their_check() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    rig.script.world().listed = vec![agent(2), agent(1)];
    for _ in 0..5 {
        let listed = rig.engine.listed(&list_question(&rig)).await.unwrap();
        assert_eq!(&*listed.agents, [agent(1), agent(2)]);
        rig.sections(rig.question(), listed).await.unwrap();
        pass(9 * SECOND).await;
    }
    assert_eq!(rig.checked(), (0, 1));
    pass(9 * SECOND).await;
    rig.engine.listed(&list_question(&rig)).await.unwrap();
    assert_eq!(rig.checked(), (0, 1));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_agent_is_left_out_at_once_and_returns_with_the_next_list() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    let numbers: Vec<u128> = (1..=6).collect();
    rig.script.world().listed = numbers.iter().map(|number| agent(*number)).collect();
    let poll = async |max_age: Option<Duration>| {
        let directives = CacheDirectives { max_age, ..CacheDirectives::default() };
        let list = ListQuestion { directives, ..list_question(&rig) };
        let listed = rig.engine.listed(&list).await.unwrap();
        rig.sections(rig.question(), listed).await.map(|(sections, _)| sections.len())
    };
    assert_eq!(poll(None).await.unwrap(), 6);
    {
        let mut world = rig.script.world();
        (world.agent_refused, world.refuses_only) = (Some(404), Some(agent(3)));
        world.listed.retain(|listed| *listed != agent(3));
    }
    pass(5 * SECOND).await;
    assert_eq!(poll(None).await.unwrap_err().agent, agent(3), "the stored list still names it");
    assert_eq!(poll(None).await.unwrap(), 5);
    (rig.script.world().agent_refused, rig.script.world().refuses_only) = (None, None);
    rig.script.world().listed.push(agent(3));
    pass(2 * SECOND).await;
    assert_eq!(poll(Some(SECOND)).await.unwrap(), 6);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_made_up_agent_does_not_cause_another_read_of_the_list() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    rig.script.world().listed = vec![agent(1)];
    rig.engine.listed(&list_question(&rig)).await.unwrap();
    (rig.script.world().agent_refused, rig.script.world().refuses_only) = (Some(404), Some(agent(9)));
    for numbers in [&[1, 9][..], &[9]] {
        assert!(rig.sections(rig.question(), agents(numbers)).await.is_err());
        rig.engine.listed(&list_question(&rig)).await.unwrap();
    }
    assert_eq!(rig.checked(), (1, 1));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_read_is_an_error_unless_an_older_one_is_recent_enough() {
    let settings = EngineSettings { stale_if_error: 600 * SECOND, ..settings() };
    let rig = Rig::new(settings, 1).with_history(10, 2);
    rig.script.world().list_refused = Some(500);
    let error = rig.engine.listed(&list_question(&rig)).await.unwrap_err();
    assert!(matches!(error, AskError::Source(SourceError::Unavailable { .. })));
    (rig.script.world().list_refused, rig.script.world().listed) = (None, vec![agent(1)]);
    rig.engine.listed(&list_question(&rig)).await.unwrap();
    rig.script.world().list_refused = Some(500);
    pass(100 * SECOND).await;
    let older = rig.engine.listed(&list_question(&rig)).await.unwrap().list.unwrap();
    assert_eq!(older.stale, Some(StaleReason::UpstreamFailed));
    assert!(older.freshness.age >= 100 * SECOND);
    for status in [403, 404] {
        rig.script.world().list_refused = Some(status);
        assert!(rig.engine.listed(&list_question(&rig)).await.is_err(), "{status}");
    }
    pass(600 * SECOND).await;
    rig.script.world().list_refused = Some(500);
    assert!(rig.engine.listed(&list_question(&rig)).await.is_err());
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_reads_no_list() {
    let rig = Rig::new(settings(), 1).with_history(10, 2);
    let directives = CacheDirectives { only_if_cached: true, ..CacheDirectives::default() };
    let list = ListQuestion { directives, ..list_question(&rig) };
    assert!(matches!(rig.engine.listed(&list).await, Err(AskError::NotCached)));
    let question = Question { directives, ..rig.question() };
    let numbers: Vec<u128> = (1..=9).collect();
    let error = rig.sections(question, agents(&numbers)).await.unwrap_err();
    assert!(matches!(error.error, AskError::NotCached));
    assert_eq!((rig.requests(), rig.checked()), (0, (0, 0)));
    rig.close().await;
}
