//! Messages that wait for one customer are recorded together.
//!
//! The changes of a customer follow each other, since each begins with what the one before it left: of many messages that
//! come at once, one would be recorded a commit. So whoever holds the customer's lock takes along what waits for it.
//! A message that is refused is refused by itself. What is told to a caller was committed, as ever.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indexmap::{IndexMap, IndexSet};
use konverse_model::input::MessageCreate;
use konverse_model::resource::{Message, MessageAttributes};
use konverse_model::{ConversationId, CustomerId, Id, Kind, MessageId, OrgId, UserId};
use konverse_store::{Applied, Changes, Conflict, StoreError, Surroundings};
use tokio::sync::oneshot;

use crate::directory::References;
use crate::timeline::{Anchor, Timeline};
use crate::unit::{ATTEMPTS, Draft, Stored, Turn, UNEXPLAINED};
use crate::{Actor, Domain, DomainError};

/// Messages recorded by one change at most.
const MOST: usize = 50;

/// Messages with one customer and one author.
type Key = (OrgId, CustomerId, Option<UserId>);

/// What a waiting caller is told. None: it has to look again where the conversation is. So has a caller whose message was
/// dropped with the one who took it along; nothing of it was applied then.
type Outcome = Option<Result<Message, DomainError>>;

struct Job {
    conversation: ConversationId,
    body: MessageCreate,
    admin: bool,
    /// How the org's custom attributes were described when the caller was let in.
    described: Option<i64>,
    done: oneshot::Sender<Outcome>,
}

impl Job {
    fn tell(self, outcome: Result<Message, DomainError>) {
        let _ = self.done.send(Some(outcome));
    }

    fn look_again(self) {
        let _ = self.done.send(None);
    }
}

/// Messages that wait for their customer.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<Key, Vec<Job>>>);

impl Waiting {
    fn add(&self, key: Key, job: Job) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key).or_default().push(job);
    }

    /// The next messages that somebody waits for, in the order they came.
    fn take(&self, key: Key) -> Vec<Job> {
        self.within(key, |jobs| {
            jobs.retain(|job| !job.done.is_closed());
            jobs.drain(..jobs.len().min(MOST)).collect()
        })
    }

    /// Does something with what waits for a customer; nothing is kept of one for whom nothing waits.
    fn within<T: Default>(&self, key: Key, act: impl FnOnce(&mut Vec<Job>) -> T) -> T {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = waiting.get_mut(&key) else { return T::default() };
        let done = act(jobs);
        if jobs.is_empty() {
            waiting.remove(&key);
        }
        done
    }
}

/// A caller among those that wait. One who goes away unanswered leaves no message behind.
struct Caller<'a> {
    waiting: &'a Waiting,
    key: Key,
    is_answered: bool,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.waiting.within(self.key, |jobs| jobs.retain(|job| !job.done.is_closed()));
        }
    }
}

/// What a change will record, and for whom.
type Recorded = Vec<(Job, Stored<MessageAttributes>)>;

impl Domain {
    /// Records a message in a conversation that shows, whoever else's are waiting.
    pub(super) async fn record_message(
        &self,
        actor: &Actor,
        admin: bool,
        conversation: ConversationId,
        body: MessageCreate,
    ) -> Result<Message, DomainError> {
        for attempt in 0..ATTEMPTS {
            self.wait_turn(attempt).await;
            let seen = self.surroundings(actor.org, Anchor::Conversation(conversation), actor.user).await?;
            let key = (actor.org, CustomerId(seen.customer.id), actor.user);
            // Before the answer, which is closed first when both are dropped.
            let mut caller = Caller { waiting: &self.waiting, key, is_answered: false };
            let (done, mut answer) = oneshot::channel();
            let lock = self.try_lock(key.0, key.1);
            self.waiting.add(key, Job { conversation, body: body.clone(), admin, described: actor.described, done });
            if let Some(_lock) = lock {
                self.record_waiting(actor, key, Some(seen)).await;
            }
            let outcome = loop {
                tokio::select! {
                    biased;
                    outcome = &mut answer => break outcome,
                    // What was seen was seen before somebody else's turn.
                    _lock = self.lock(key.0, key.1) => {
                        if !self.record_waiting(actor, key, None).await {
                            // Somebody took it along, and went away while it is applied.
                            break (&mut answer).await;
                        }
                    }
                }
            };
            caller.is_answered = true;
            if let Ok(Some(outcome)) = outcome {
                return outcome;
            }
        }
        Err(DomainError::Busy)
    }

    /// Records what waits, under the customer's lock; whether anything did.
    async fn record_waiting(&self, actor: &Actor, key: Key, seen: Option<Surroundings>) -> bool {
        let jobs = self.waiting.take(key);
        if jobs.is_empty() {
            return false;
        }
        // What one of them saw can be older than what another does.
        let seen = seen.filter(|_| jobs.len() == 1);
        // What is refused with others is tried by itself, so that only one is.
        for job in self.record_together(actor, key, jobs, seen).await {
            self.record_together(actor, key, vec![job], None).await;
        }
        true
    }

    /// Records messages by one change; gives back those that have to be tried one by one.
    async fn record_together(
        &self,
        actor: &Actor,
        key: Key,
        mut jobs: Vec<Job>,
        mut seen: Option<Surroundings>,
    ) -> Vec<Job> {
        let (mut last, mut unexplained) = (Conflict::Busy, 0);
        let mut turn = Turn::new(self);
        loop {
            match turn.comes().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    fail_all(jobs, &error);
                    return Vec::new();
                }
            }
            let computing = self.compute_together(actor, key, jobs, seen.take());
            let (mut changes, recorded) = match turn.holding(computing).await {
                Ok(computed) => computed,
                Err((mut jobs, error)) => {
                    return match (jobs.pop(), jobs.is_empty()) {
                        (Some(job), true) => {
                            job.tell(Err(error));
                            Vec::new()
                        }
                        (last, _) => jobs.into_iter().chain(last).collect(),
                    };
                }
            };
            if recorded.is_empty() {
                return Vec::new();
            }
            turn.sign(&mut changes);
            let applying = self.apply(changes);
            // What is applied, or may be for all that is known, is told to everybody, also when the one who took it along
            // goes away: only what was certainly not applied is tried again.
            let applied = tokio::spawn(async move {
                match applying.await {
                    Ok(applied) => {
                        tell_all(recorded, &applied);
                        Ok(())
                    }
                    Err(StoreError::Conflict(conflict)) => Err(Some((jobs_of(recorded).collect::<Vec<_>>(), conflict))),
                    Err(error) => {
                        fail_all(jobs_of(recorded), &error);
                        Err(None)
                    }
                }
            });
            match applied.await {
                Ok(Ok(())) => {
                    turn.won();
                    return Vec::new();
                }
                Ok(Err(Some(refused))) => (jobs, last) = refused,
                Ok(Err(None)) | Err(_) => return Vec::new(),
            }
            turn.lost(&last);
            if matches!(last, Conflict::Taken(..) | Conflict::Name(..)) {
                if jobs.len() > 1 {
                    return jobs;
                }
                unexplained += 1;
            }
            if unexplained == UNEXPLAINED {
                break;
            }
        }
        jobs.into_iter().for_each(|job| job.tell(Err(DomainError::lost(&last))));
        Vec::new()
    }

    /// The change that records messages, and what it will answer. Those that are refused for what they are have been told.
    async fn compute_together(
        &self,
        actor: &Actor,
        key: Key,
        mut jobs: Vec<Job>,
        seen: Option<Surroundings>,
    ) -> Result<(Changes, Recorded), (Vec<Job>, DomainError)> {
        let mut references = References::of(self.store.clone(), actor);
        jobs.iter().for_each(|job| references.at_least(job.described));
        let mut timeline = match self.timeline_of(actor, key, &mut references, &mut jobs, seen).await {
            Ok(Some(timeline)) => timeline,
            Ok(None) => return Ok((Changes::new(actor.org, self.now()), Vec::new())),
            Err(error) => return Err((jobs, error)),
        };
        let mut new: IndexMap<ConversationId, Vec<Draft<MessageAttributes>>> = IndexMap::new();
        let mut accepted: Vec<(Job, MessageId)> = Vec::new();
        for job in jobs {
            let drafted = match timeline.conversations.get(&job.conversation) {
                Some(conversation) if conversation.shows() => {
                    let (of, body) = (job.conversation, job.body.clone());
                    self.new_message(&timeline, &mut references, of, body, job.admin, true).await.map(Some)
                }
                Some(_) => Err(DomainError::NotFound(Kind::Conversation, job.conversation.to_string())),
                // Gone, or moved to another customer.
                None => Ok(None),
            };
            match drafted {
                // An id that comes twice is told from one that is taken when its turn comes.
                Ok(Some(message)) if accepted.iter().all(|(_, id)| id.0 != message.doc.id) => {
                    let id = MessageId(message.doc.id);
                    new.entry(job.conversation).or_default().push(message);
                    accepted.push((job, id));
                }
                Ok(_) => job.look_again(),
                Err(error) => job.tell(Err(error)),
            }
        }
        if accepted.is_empty() {
            return Ok((timeline.changes, Vec::new()));
        }
        let finishing = async {
            for (conversation, messages) in new {
                timeline.record(conversation, messages).await?;
            }
            let (mut changes, finished) = timeline.finish().await?;
            references.define(self, actor.user, &mut changes).await?;
            Ok((changes, finished))
        };
        match finishing.await {
            Ok((changes, mut finished)) => {
                let stored = accepted.into_iter().filter_map(|(job, id)| Some((job, finished.take_message(id)?)));
                Ok((changes, stored.collect()))
            }
            Err(error) => Err((jobs_of(accepted).collect(), error)),
        }
    }

    /// The customer's timeline with the conversations the messages go to, as far as they are there and theirs. None when
    /// none is, and then everybody has been told.
    async fn timeline_of(
        &self,
        actor: &Actor,
        key: Key,
        references: &mut References,
        jobs: &mut Vec<Job>,
        mut seen: Option<Surroundings>,
    ) -> Result<Option<Timeline<'_>>, DomainError> {
        let (org, customer, _) = key;
        let mut timeline = loop {
            let Some(first) = jobs.first() else { return Ok(None) };
            let (anchor, id) = (Anchor::Conversation(first.conversation), first.conversation.0);
            let found = match seen.take().filter(|seen| seen.conversation.id == id) {
                Some(seen) => Ok(Some(seen)),
                None => self.store.surroundings(org, Kind::Conversation, id, actor.user).await,
            };
            match found {
                Ok(Some(found)) if found.customer.id == customer.0 => {
                    match Timeline::of(self, actor, references, anchor, found).await {
                        Ok((timeline, _)) => break timeline,
                        // The customer was deleted.
                        Err(error @ DomainError::NotFound(..)) => jobs.remove(0).tell(Err(error)),
                        Err(error) => return Err(error),
                    }
                }
                Ok(Some(_)) => jobs.remove(0).look_again(),
                Ok(None) => jobs.remove(0).tell(Err(anchor.missing())),
                // A look-up that fails is no refusal of one of them: it is not paid once more for each.
                Err(error) => {
                    fail_all(jobs.drain(..), &error);
                    return Ok(None);
                }
            }
        };
        let others: IndexSet<Id> = jobs.iter().map(|job| job.conversation.0).collect();
        let others: Vec<Id> =
            others.into_iter().filter(|id| !timeline.conversations.contains_key(&ConversationId(*id))).collect();
        let others = match self.store.get_many(org, Kind::Conversation, &others).await {
            Ok(others) => others,
            Err(error) => {
                fail_all(jobs.drain(..), &error);
                return Ok(None);
            }
        };
        for row in others {
            if row.customer == Some(customer) {
                timeline.with_conversation(row)?;
            }
        }
        Ok(Some(timeline))
    }
}

fn jobs_of<T>(jobs: Vec<(Job, T)>) -> impl Iterator<Item = Job> {
    jobs.into_iter().map(|(job, _)| job)
}

fn fail_all(jobs: impl IntoIterator<Item = Job>, error: &StoreError) {
    jobs.into_iter().for_each(|job| job.tell(Err(error.clone().into())));
}

fn tell_all(recorded: Recorded, applied: &Applied) {
    recorded.into_iter().for_each(|(job, stored)| job.tell(Ok(stored.settle(applied))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_away_leaves_nothing_behind() {
        let id = Id::from_bytes([1; 12]);
        let (waiting, key) = (Waiting::default(), (OrgId(id), CustomerId(id), None));
        let come = || {
            let caller = Caller { waiting: &waiting, key, is_answered: false };
            let (done, answer) = oneshot::channel();
            waiting.add(
                key,
                Job {
                    conversation: ConversationId(id),
                    body: MessageCreate::default(),
                    admin: false,
                    described: None,
                    done,
                },
            );
            // Dropped in this order.
            (answer, caller)
        };
        let kept = || waiting.within(key, |jobs| jobs.len());
        let stays = come();
        (0..3 * MOST).for_each(|_| drop(come()));
        assert_eq!(kept(), 1, "only one still waits");
        drop(stays);
        assert!(waiting.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }

    #[test]
    fn who_went_away_takes_nobodys_place() {
        let id = Id::from_bytes([1; 12]);
        let (waiting, key) = (Waiting::default(), (OrgId(id), CustomerId(id), None));
        let mut answers: Vec<_> = (0..2 * MOST)
            .map(|_| {
                let (done, answer) = oneshot::channel();
                let body = MessageCreate::default();
                waiting.add(key, Job { conversation: ConversationId(id), body, admin: false, described: None, done });
                answer
            })
            .collect();
        answers.drain(..MOST);
        assert_eq!(waiting.take(key).len(), MOST);
        assert!(waiting.take(key).is_empty());
    }
}
