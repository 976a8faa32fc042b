//! Changing a conversation's attributes, status and snooze (contract `endpoints.md`, form A).

use konverse_model::input::ConversationUpdate;
use konverse_model::resource::{ConversationAttributes, SnoozeStatus, Status};
use konverse_model::{ConversationId, Instant, Kind, Patch, Rel};
use konverse_store::{Hidden, Hide};

use super::{PRIORITY, hide, set_queue};
use crate::directory::References;
use crate::timeline::{Cause, Timeline, change_status};
use crate::unit::{merge_custom, object};
use crate::{Domain, DomainError};

impl Domain {
    pub(super) async fn apply_update(
        &self,
        timeline: &mut Timeline<'_>,
        references: &mut References,
        id: ConversationId,
        mut body: ConversationUpdate,
        replace: bool,
    ) -> Result<(), DomainError> {
        let (org, now, author) = (timeline.org, timeline.now, timeline.author.clone());
        timeline.conversation(id)?.expect_rev(body.rev.0)?;
        let mut errors = Vec::new();
        references
            .check(Kind::User, body.assigned_users.0.as_deref().unwrap_or_default(), "/assignedUsers", &mut errors)
            .await?;
        references
            .check(Kind::Team, body.assigned_teams.0.as_deref().unwrap_or_default(), "/assignedTeams", &mut errors)
            .await?;
        let by_customer = match body.ended_by_type.0.as_deref() {
            Some(kind) => kind == "customer",
            None => timeline.conversation(id)?.doc.attributes.ended_by_type.as_deref() == Some("customer"),
        };
        let ended_by = if by_customer { Kind::Customer } else { Kind::User };
        references.check_one(ended_by, body.ended_by.0, "/endedBy", &mut errors).await?;
        if let Some(custom) = &mut body.custom.0 {
            references.custom(self, Kind::Conversation, custom, true, &mut errors).await?;
        }
        let tags = match body.tags.take() {
            Some(names) => {
                Some(references.tags(self, &names, "/tags", author.user, &mut timeline.changes, &mut errors).await?)
            }
            None => None,
        };
        let restoring = !timeline.conversation(id)?.shows();
        if let Patch::Set(external_id) = &body.external_id {
            let own = timeline.conversation(id)?.doc.attributes.external_id.as_ref() == Some(external_id);
            if !own || restoring {
                self.check_free(org, Kind::Conversation, None, Some(external_id)).await?;
            }
        } else if restoring && body.external_id == Patch::Keep {
            let kept = timeline.conversation(id)?.doc.attributes.external_id.clone();
            self.check_free(org, Kind::Conversation, None, kept.as_deref()).await?;
        }

        let restore = matches!(body.deleted, Patch::Clear | Patch::Set(false));
        let delete = body.deleted == Patch::Set(true);
        let draft = timeline.conversation(id)?;
        let before = draft.doc.attributes.clone();
        if replace {
            references.clear_custom(&mut draft.doc.attributes.custom);
            draft.doc.attributes.sentiment.clear();
            draft.doc.attributes.satisfaction_level = None;
            draft.doc.attributes.external_queue = None;
            draft.doc.relationships.remove("queue");
        }
        if let Some(custom) = body.custom.take() {
            merge_custom(&mut draft.doc.attributes.custom, custom, "/custom", &mut errors);
        }
        if !errors.is_empty() {
            return Err(DomainError::Invalid(errors));
        }
        let attributes = &mut draft.doc.attributes;
        if let Some(tags) = tags {
            attributes.tags = tags;
        }
        match body.name {
            Patch::Keep => {}
            Patch::Clear => {
                attributes.name.clear();
                draft.state.name_given = true;
            }
            Patch::Set(name) => {
                draft.state.name_given = true;
                attributes.name = name;
            }
        }
        if let Some(direction) = body.direction.0 {
            attributes.direction = direction;
            draft.state.direction_given = true;
        }
        match body.satisfaction {
            Patch::Keep => {}
            Patch::Clear => attributes.satisfaction = 0,
            Patch::Set(value) => attributes.satisfaction = value,
        }
        if let Some(level) = body.satisfaction_level.0 {
            attributes.satisfaction_level = Some(object(&level)?);
        }
        if let Some(shortcuts) = body.suggested_shortcuts.0 {
            attributes.suggested_shortcuts = shortcuts.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(tags) = body.suggested_tags.0 {
            attributes.suggested_tags = tags.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        }
        if let Some(sentiment) = body.sentiment.0 {
            attributes.sentiment = object(&sentiment)?;
        }
        body.external_id.put(&mut attributes.external_id);
        body.priority.put(&mut attributes.priority);
        body.reply_channel.put(&mut attributes.reply_channel);
        body.default_lang.put(&mut attributes.default_lang);
        body.assigned_users.put(&mut attributes.assigned_users);
        body.assigned_teams.put(&mut attributes.assigned_teams);
        body.locked.put(&mut attributes.locked);
        if let Some(ended) = body.ended.0 {
            attributes.ended = ended;
            if ended {
                let at = body.ended_at.0.or(attributes.ended_at).unwrap_or(now);
                attributes.ended_at = Some(at);
            } else {
                (attributes.ended_at, attributes.ended_reason, attributes.ended_by_type) = (None, None, None);
                draft.doc.relationships.remove("endedBy");
            }
        } else if let Some(at) = body.ended_at.0 {
            attributes.ended_at = Some(at);
        }
        let attributes = &mut draft.doc.attributes;
        if let Some(reason) = body.ended_reason.0 {
            attributes.ended_reason = Some(reason);
        }
        if let Some(by) = body.ended_by_type.0 {
            attributes.ended_by_type = Some(by);
        }
        if let Some(by) = body.ended_by.0 {
            draft.doc.relationships.set("endedBy", Rel::One(ended_by, by));
        }
        set_queue(&mut draft.doc, body.queue.0);

        // The status last: what it snapshots is the conversation as this very update leaves it.
        let snooze = body.snooze.0;
        let to = match (body.status.0, snooze.as_ref().map(|snooze| snooze.status)) {
            (Some(Status::Open | Status::Done), Some(SnoozeStatus::Scheduled)) => {
                return Err(DomainError::invalid("/snooze", "can be scheduled only with the status snoozed"));
            }
            (Some(Status::Snoozed), Some(SnoozeStatus::Canceled | SnoozeStatus::Elapsed)) => {
                return Err(DomainError::invalid("/snooze", "must be scheduled with the status snoozed"));
            }
            (Some(status), _) => Some(status),
            (None, Some(SnoozeStatus::Scheduled)) => Some(Status::Snoozed),
            (None, Some(_)) if draft.doc.attributes.status == Status::Snoozed => Some(Status::Open),
            (None, _) => None,
        };
        let cause = match snooze.as_ref().map(|snooze| snooze.status) {
            Some(SnoozeStatus::Elapsed) => Cause::Elapsed,
            _ => Cause::Request,
        };
        if let Some(to) = to {
            change_status(&mut draft.doc, &mut draft.state, to, cause, &author, now);
        }
        if let (Some(wanted), Some(running)) = (snooze, draft.doc.attributes.snooze.as_mut())
            && wanted.status == SnoozeStatus::Scheduled
            && running.time != wanted.time.0
        {
            running.time = wanted.time.0;
        }
        if let Some(sub_status) = body.sub_status.0 {
            draft.doc.relationships.set("subStatus", Rel::One(Kind::SubStatus, sub_status));
        }
        note_history(&before, &mut draft.doc.attributes, now);
        if delete {
            hide(timeline, id)?;
        } else if restore && restoring {
            let draft = timeline.conversation(id)?;
            draft.hidden = Hidden::No;
            let doc = draft.doc.clone();
            timeline.hide(Hide::Undo(timeline.customer_id(), id.0));
            timeline.reassess_if_shown(&doc);
        }
        Ok(())
    }
}

/// The body that resets what it does not name (`?replace=true`). The status is a state, not an attribute to reset.
pub(super) fn replacing(mut body: ConversationUpdate) -> ConversationUpdate {
    body.external_id.or_clear();
    body.name.or_clear();
    body.satisfaction.or_clear();
    body.reply_channel.or_clear();
    body.default_lang.or_clear();
    body.priority.0.get_or_insert(PRIORITY);
    body.suggested_shortcuts.0.get_or_insert_default();
    body.suggested_tags.0.get_or_insert_default();
    body.tags.0.get_or_insert_default();
    body.assigned_users.0.get_or_insert_default();
    body.assigned_teams.0.get_or_insert_default();
    body.ended.0.get_or_insert_default();
    body.locked.0.get_or_insert_default();
    body
}

/// Notes when each of the attributes the vendor tracks last changed.
fn note_history(before: &ConversationAttributes, after: &mut ConversationAttributes, at: Instant) {
    let changed = [
        ("nameAt", before.name != after.name),
        ("priorityAt", before.priority != after.priority),
        ("assignedTeamsAt", before.assigned_teams != after.assigned_teams),
        ("assignedUsersAt", before.assigned_users != after.assigned_users),
        ("defaultLangAt", before.default_lang != after.default_lang),
        ("tagsAt", before.tags != after.tags),
        ("customAt", before.custom != after.custom),
    ];
    for (name, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        after.modification_history.insert(name.to_owned(), at);
    }
}
