//! Notes (contract `resources.md` §3).

mod create;
mod update;

use konverse_model::input::Mention;
use konverse_model::resource::Note;
use konverse_model::{FieldError, Id, Kind, NoteId, Rel};

use crate::access::permissions::ReadNotes;
use crate::directory::References;
use crate::{Authorized, Domain, DomainError};

impl Domain {
    /// One note, as text.
    pub async fn note(&self, auth: &Authorized<ReadNotes>, id: NoteId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Note, id.0).await?.doc)
    }
}

async fn check_mentions(
    references: &mut References,
    mentions: Vec<Mention>,
    errors: &mut Vec<FieldError>,
) -> Result<Vec<(Kind, Id)>, DomainError> {
    let mut found = Vec::with_capacity(mentions.len());
    for (n, mention) in mentions.into_iter().enumerate() {
        let (kind, id) = match (mention.user.0, mention.team.0) {
            (Some(user), _) => (Kind::User, user.0),
            (None, Some(team)) => (Kind::Team, team.0),
            (None, None) => continue,
        };
        let before = errors.len();
        references.check(kind, &[id], "/userMentions", errors).await?;
        for error in &mut errors[before..] {
            error.pointer = format!("/userMentions/{n}");
        }
        found.push((kind, id));
    }
    Ok(found)
}

fn set_mentions(note: &mut Note, data: Vec<(Kind, Id)>) {
    if data.is_empty() {
        note.relationships.remove("userMentions");
    } else {
        note.relationships.set("userMentions", Rel::Many { link: None, data });
    }
}

fn set_attachments(note: &mut Note, ids: Vec<Id>) {
    if ids.is_empty() {
        note.relationships.remove("attachments");
    } else {
        let data = ids.into_iter().map(|id| (Kind::Attachment, id)).collect();
        note.relationships.set("attachments", Rel::Many { link: Some("attachments"), data });
    }
}
