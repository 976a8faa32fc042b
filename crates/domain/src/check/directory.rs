//! The directory and its tokens, with what is kept beside them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use konverse_model::resource::{MetadataAttributes, TeamAttributes, TokenAttributes};
use konverse_model::{Id, Kind, OrgId, TeamId, TokenId, UserId};
use konverse_store::{Changes, Hidden, Holding, Membership, NewCredential, Op, Row, Space, StoreError};

use super::notes::{Level, Notes, Place, doubt, look};
use super::report::Difference;
use super::told::{Own, Told};
use super::{Finding, Outcome, Report, Subject, alone};
use crate::directory::{Entry as _, KINDS, names_of_row, of_kind};
use crate::{Domain, DomainError};

/// Rows read at once.
const MANY: u32 = 1_000;

/// What is kept beside the directory: few in all.
#[derive(Default)]
pub(super) struct Directory {
    members: HashMap<TeamId, BTreeSet<UserId>>,
    credentials: HashMap<TokenId, NewCredential>,
}

impl Domain {
    pub(super) async fn check_directory(
        self: &Arc<Self>,
        org: OrgId,
        told: &Arc<Told>,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        for kind in KINDS.into_iter().chain([Kind::Metadata, Kind::Token]) {
            // Read before the records: what is made meanwhile is in both, or the record alone and is looked at again.
            let directory = Arc::new(self.directory(org).await?);
            self.check_all(org, Subject::Record(kind), (&directory, told), repair, report).await?;
        }
        let directory = self.directory(org).await?;
        report.checked.seen("membership", directory.members.values().map(|users| users.len() as u64).sum());
        report.checked.seen("credential", directory.credentials.len() as u64);
        for (team, users) in directory.members {
            if !self.is_there(org, Kind::Team, team.0).await? {
                for user in users {
                    let what = format!("of user {user}");
                    let mend = Op::Leave(Membership { user, team });
                    self.lost(org, ("membership", team.0), &what, mend, repair, report).await?;
                }
            }
        }
        for token in directory.credentials.into_keys() {
            if !self.is_there(org, Kind::Token, token.0).await? {
                self.lost(org, ("credential", token.0), "it", Op::Revoke(token), repair, report).await?;
            }
        }
        Ok(())
    }

    async fn is_there(&self, org: OrgId, kind: Kind, id: Id) -> Result<bool, DomainError> {
        match self.store.get(org, kind, id).await {
            // Nothing is taken from one that cannot be read.
            Err(StoreError::Corrupt(_)) => Ok(true),
            row => Ok(row?.is_some_and(|row| row.shows())),
        }
    }

    pub(super) async fn directory(&self, org: OrgId) -> Result<Directory, DomainError> {
        let mut directory = Directory::default();
        let mut after = None;
        loop {
            let some = self.store.memberships(org, after, MANY).await?;
            after = some.last().copied().filter(|_| some.len() == MANY as usize);
            for place in some {
                directory.members.entry(place.team).or_default().insert(place.user);
            }
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let some = self.store.credentials(org, after, MANY).await?;
            after = some.last().map(|last| last.token.0).filter(|_| some.len() == MANY as usize);
            directory.credentials.extend(some.into_iter().map(|one| (one.token, one)));
            if after.is_none() {
                return Ok(directory);
            }
        }
    }

    /// Something that is kept of a record which is not there.
    pub(super) async fn lost(
        &self,
        org: OrgId,
        (kind, id): (&'static str, Id),
        what: &str,
        mend: Op,
        repair: bool,
        report: &mut Report<'_, '_>,
    ) -> Result<(), DomainError> {
        let mut outcome = Outcome::Found;
        if repair {
            let mut changes = Changes::new(org, self.now());
            changes.ops.push(mend);
            outcome = match self.apply(changes).await {
                Ok(_) => Outcome::Mended,
                Err(StoreError::Conflict(_)) => Outcome::Beyond("others write to it".to_owned()),
                Err(error) => return Err(error.into()),
            };
        }
        let (stored, expected) = ("kept of a record that is not there".to_owned(), "gone".to_owned());
        report.found(&Finding { kind, id: id.to_string(), what: what.to_owned(), stored, expected, outcome });
        Ok(())
    }

    pub(super) async fn look_at_record(
        &self,
        org: OrgId,
        (kind, row): (Kind, &Row),
        directory: &Directory,
        told: &Told,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        let own = self.was_deleted(org, told, row).await?;
        let place = Place { org, customer: None, conversation: None, hidden: alone(row.hidden, own) };
        if own == Own::Unsaid {
            doubt(notes, kind, row.id);
        }
        let shows = place.hidden == Hidden::No;
        notes.checked.seen(kind.name(), 1);
        let (id, row) = (row.id, row.clone());
        let mut names;
        match kind {
            Kind::Team => {
                let Some(team) = look::<TeamAttributes>(notes, row, &place)? else { return Ok(()) };
                names = team.names();
                self.compare_holding(org, (kind, id), shows.then(|| team.doc.attributes.gives()), notes).await?;
                if shows {
                    compare_members(TeamId(team.doc.id), &team.doc.attributes.members, directory, notes)?;
                }
            }
            Kind::Token => {
                let Some(token) = look::<TokenAttributes>(notes, row, &place)? else { return Ok(()) };
                if shows {
                    let user = token.doc.relationships.one("user").map(UserId);
                    return compare_credential(TokenId(token.doc.id), user, &token.doc.attributes, directory, notes);
                }
                return Ok(());
            }
            Kind::Metadata => return look::<MetadataAttributes>(notes, row, &place).map(drop),
            kind => of_kind!(
                kind,
                K => {
                    let Some(record) = look::<K>(notes, row, &place)? else { return Ok(()) };
                    names = record.names();
                    self.compare_holding(org, (kind, id), shows.then(|| record.doc.attributes.gives()), notes).await?;
                },
                else return Ok(())
            ),
        }
        if !shows {
            names.clear();
        }
        if own.is_doubtful() {
            return Ok(());
        }
        self.compare_held(org, kind, id, names, notes).await
    }

    /// What sessions are given is what the record says. Of records that older releases wrote nothing is kept until they are
    /// needed for a session.
    async fn compare_holding(
        &self,
        org: OrgId,
        (kind, id): (Kind, Id),
        gives: Option<(String, Vec<Id>)>,
        notes: &mut Notes,
    ) -> Result<(), DomainError> {
        if !matches!(kind, Kind::User | Kind::Team | Kind::RoleGroup) {
            return Ok(());
        }
        let Some(kept) = self.store.holding(org, kind, id).await? else { return Ok(()) };
        let (roles, mut groups) = gives.unwrap_or_default();
        groups.sort_unstable();
        groups.dedup();
        let expected = Holding { kind, owner: id, roles, groups };
        let found = (kept != expected).then(|| {
            Difference("what it gives to sessions".into(), "something else".into(), "as its record says".into())
        });
        notes.differ(kind.name(), id, found.into_iter().collect(), Level::Beside, |changes| {
            changes.ops.push(Op::Hold(expected));
            Ok(())
        })
    }
}

/// The names a record of the directory says are its own; none of one that cannot be read.
pub(super) fn names_of_record(row: &Row) -> Option<Vec<(Space, String)>> {
    of_kind!(row.kind, K => names_of_row::<K>(row), else Some(Vec::new()))
}

fn compare_members(
    team: TeamId,
    members: &[UserId],
    directory: &Directory,
    notes: &mut Notes,
) -> Result<(), DomainError> {
    let said: BTreeSet<UserId> = members.iter().copied().collect();
    let none = BTreeSet::new();
    let kept = directory.members.get(&team).unwrap_or(&none);
    let differs = |user: &UserId, stored: &str, expected: &str| {
        vec![Difference(format!("the membership of user {user}"), stored.to_owned(), expected.to_owned())]
    };
    for user in said.difference(kept) {
        notes.differ(Kind::Team.name(), team.0, differs(user, "missing", "kept"), Level::Beside, |changes| {
            changes.ops.push(Op::Join(Membership { user: *user, team }));
            Ok(())
        })?;
    }
    for user in kept.difference(&said) {
        notes.differ(Kind::Team.name(), team.0, differs(user, "kept", "gone"), Level::Beside, |changes| {
            changes.ops.push(Op::Leave(Membership { user: *user, team }));
            Ok(())
        })?;
    }
    Ok(())
}

/// What lets a token in says what its record says, which everybody can see.
fn compare_credential(
    token: TokenId,
    user: Option<UserId>,
    said: &TokenAttributes,
    directory: &Directory,
    notes: &mut Notes,
) -> Result<(), DomainError> {
    let Some(kept) = directory.credentials.get(&token) else {
        let found = Difference("its credential".into(), "missing".into(), "kept".into());
        notes.beyond(Kind::Token.name(), token.0, found, "only its hash is ever kept: revoke it and make a new one");
        return Ok(());
    };
    let expected = NewCredential {
        user: user.unwrap_or(kept.user),
        roles: if said.session { String::new() } else { said.roles.join(" ") },
        cidr: said.cidr.clone(),
        expires_at: said.expires_at,
        ..kept.clone()
    };
    let mut found = Vec::new();
    if kept.user != expected.user {
        found.push(Difference::of("the user it lets in", kept.user, expected.user));
    }
    if kept.roles != expected.roles {
        // Roles are konverse's and the vendor's words.
        found.push(Difference("what it lets do".into(), kept.roles.clone(), expected.roles.clone()));
    }
    if kept.cidr != expected.cidr {
        found.push(Difference("where it lets in from".into(), "another".into(), "as its record says".into()));
    }
    if kept.expires_at != expected.expires_at {
        found.push(Difference::of("until when it lets in", kept.expires_at, expected.expires_at));
    }
    notes.differ(Kind::Token.name(), token.0, found, Level::Beside, |changes| {
        changes.ops.extend([Op::Revoke(token), Op::Admit(expected)]);
        Ok(())
    })
}
