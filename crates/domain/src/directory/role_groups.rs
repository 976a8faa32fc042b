//! Role groups: roles under one name, given to users and teams (contract `resources.md` §10).
//!
//! Each org has some that come with konverse. They are made when somebody first asks for role groups, by ids that follow
//! from the org's, so that processes that make them at once make the same.
//!
//! Nobody gives roles they do not hold: not to a user, not by a role group, not by a team.

use konverse_model::input::RoleGroupBody;
use konverse_model::resource::{RoleGroup, RoleGroupAttributes};
use konverse_model::{Document, FieldError, Id, Kind, OrgId, Role};
use konverse_store::{Changes, Holding, Op, Row, Space};
use sha2::{Digest, Sha256};

use super::entry::{Changeable, Creatable, Deletable, Desk, Entry, Name, NoFilter, Only};
use crate::access::granting;
use crate::access::permissions::{
    self, CreateRoleGroups, DeleteRoleGroups, ReadRoleGroups, ReadSensitive, UpdateRoleGroups,
};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError, Permission};

/// Those that come with konverse: name, description.
const BUILT_IN: [(&str, &str); 4] = [
    ("Owner", "Everything"),
    ("Admin", "Settings, people and all records"),
    ("Agent", "Customers, conversations and what goes with them"),
    ("Read only", "Reading everything, changing nothing"),
];

fn roles_of(name: &str) -> Vec<String> {
    // What is sensitive is not for everybody who reads.
    let reads = |role: &&str| {
        role.ends_with(".read") && !role.starts_with("org.admin.") && !ReadSensitive::ROLES.contains(role)
    };
    let roles = match name {
        "Owner" => vec!["org"],
        "Admin" => vec!["org.admin", "org.permission", "org.user"],
        "Agent" => vec![
            "org.permission.attachment",
            "org.permission.company",
            "org.permission.conversation",
            "org.permission.customer",
            "org.permission.message",
            "org.permission.note",
            "org.permission.search",
            "org.permission.search_execution",
            "org.permission.shortcut.read",
            "org.permission.tag.read",
            "org.permission.team.read",
            "org.permission.user.read",
            "org.user",
        ],
        _ => permissions::names().into_iter().filter(reads).collect(),
    };
    roles.into_iter().map(str::to_owned).collect()
}

/// The id one of them has in an org.
fn built_in_id(org: OrgId, name: &str) -> Id {
    let mut hash = Sha256::new();
    hash.update(org.0.bytes());
    hash.update(name);
    let mut id = [0; 12];
    id.copy_from_slice(&hash.finalize()[..12]);
    Id::from_bytes(id)
}

impl Domain {
    /// Makes the role groups that come with konverse, where the org does not have them as they are now.
    pub async fn found_role_groups(&self, auth: &Authorized<ReadRoleGroups>) -> Result<(), DomainError> {
        self.with_built_in(auth.org()).await
    }

    async fn with_built_in(&self, org: OrgId) -> Result<(), DomainError> {
        let ids = BUILT_IN.map(|(name, _)| built_in_id(org, name));
        let is_right = |draft: &Draft<RoleGroupAttributes>, (name, description): (&str, &str)| {
            let it = &draft.doc.attributes;
            it.name == name && it.description.as_deref() == Some(description) && it.roles == roles_of(name)
        };
        let read = async || -> Result<Vec<Option<Draft<RoleGroupAttributes>>>, DomainError> {
            let rows = self.store.get_many(org, Kind::RoleGroup, &ids).await?;
            let drafts = rows.into_iter().map(Draft::read).collect::<Result<Vec<_>, _>>()?;
            Ok(ids.iter().map(|id| drafts.iter().find(|draft| draft.doc.id == *id).cloned()).collect())
        };
        let stand = read().await?;
        if stand.iter().zip(BUILT_IN).all(|(draft, built_in)| draft.as_ref().is_some_and(|it| is_right(it, built_in))) {
            return Ok(());
        }
        self.commit(|| async {
            let mut changes = Changes::new(org, self.now());
            for ((draft, built_in), id) in read().await?.into_iter().zip(BUILT_IN).zip(ids) {
                let (name, description) = built_in;
                if draft.as_ref().is_some_and(|it| is_right(it, built_in)) {
                    continue;
                }
                let mut draft = draft.unwrap_or_else(|| {
                    let attributes = RoleGroupAttributes {
                        name: String::new(),
                        description: None,
                        display: true,
                        system: true,
                        roles: Vec::new(),
                        created_at: changes.at,
                        updated_at: changes.at,
                    };
                    Draft::new(Document::new(id, org, attributes))
                });
                let it = &mut draft.doc.attributes;
                (it.name, it.description) = (name.to_owned(), Some(description.to_owned()));
                it.roles = roles_of(name);
                let (roles, groups) = it.gives();
                changes.ops.push(Op::Hold(Holding { kind: Kind::RoleGroup, owner: id, roles, groups }));
                draft.finish(None, &mut changes)?;
            }
            Ok((changes, ()))
        })
        .await
        .map(drop)
    }

    /// The role groups of these ids that show.
    async fn role_groups(&self, org: OrgId, ids: &[Id]) -> Result<Vec<RoleGroup>, DomainError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.store.get_many(org, Kind::RoleGroup, ids).await?;
        rows.into_iter().filter(Row::shows).map(|row| Ok(Document::from_text(&row.doc)?)).collect()
    }
}

impl Desk<'_> {
    /// Whether whoever acts may give this role. Nobody acts in an import.
    pub(super) fn may_give(&self, role: &str) -> bool {
        self.actor.is_none_or(|actor| actor.holds(role))
    }

    /// Checks role groups that are given: they are there, and those that were not had before hold no role that whoever
    /// acts does not.
    pub(super) async fn check_groups(&self, groups: &[Id], had: &[Id]) -> Result<(), DomainError> {
        if self.actor.is_none() {
            return Ok(());
        }
        let there = self.domain.role_groups(self.org, groups).await?;
        let mut errors = Vec::new();
        for (n, id) in groups.iter().enumerate().filter(|(_, id)| !had.contains(id)) {
            let message = match there.iter().find(|group| group.id == *id) {
                None => format!("names no role group of this org: {id}"),
                Some(group) => match group.attributes.roles.iter().find(|role| !self.may_give(role)) {
                    None => continue,
                    Some(role) => format!("gives {role}, which you do not hold"),
                },
            };
            errors.push(FieldError::at(format!("/roleGroups/{n}"), message));
        }
        if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
    }

    /// Checks that whoever acts holds all that these role groups give, before others get it.
    pub(super) async fn check_joining(&self, groups: &[Id]) -> Result<(), DomainError> {
        if self.actor.is_none() {
            return Ok(());
        }
        for group in self.domain.role_groups(self.org, groups).await? {
            if let Some(role) = group.attributes.roles.iter().find(|role| !self.may_give(role)) {
                let message = format!("would be given {role} by this team, which you do not hold");
                return Err(DomainError::invalid("/members", message));
            }
        }
        Ok(())
    }

    /// Checks the roles a role group shall have.
    fn check_roles(&self, roles: &[String], had: &[String]) -> Result<(), DomainError> {
        let mut errors = Vec::new();
        for (n, role) in roles.iter().enumerate().filter(|(_, role)| !had.contains(role)) {
            let message = match role.parse::<Role>() {
                Err(_) => "must be a role, such as org.permission.conversation.read or org.user",
                Ok(_) if self.may_give(role) => continue,
                Ok(_) => "is a role you do not hold",
            };
            errors.push(FieldError::at(format!("/roles/{n}"), message));
        }
        if errors.is_empty() { Ok(()) } else { Err(DomainError::Invalid(errors)) }
    }
}

impl Entry for RoleGroupAttributes {
    type Create = RoleGroupBody;
    type Filter = NoFilter;
    type MayRead = ReadRoleGroups;

    fn names(&self) -> Vec<Name> {
        // Those that come with konverse leave their names to the org, which may have used them before.
        if self.system { Vec::new() } else { vec![Name::folded(Space::RoleGroupName, &self.name, "/name")] }
    }

    fn only(_: NoFilter) -> Only {
        Only::Shown
    }

    fn id(_: &RoleGroupBody) -> Option<Id> {
        None
    }

    async fn fresh(desk: &mut Desk<'_>, body: RoleGroupBody) -> Result<RoleGroup, DomainError> {
        let roles = body.roles.0.unwrap_or_default();
        desk.check_roles(&roles, &[])?;
        let attributes = RoleGroupAttributes {
            name: not_built_in(body.name.0.unwrap_or_default())?,
            description: body.description.given(),
            display: body.display.0.unwrap_or(true),
            system: false,
            roles,
            created_at: desk.now(),
            updated_at: desk.now(),
        };
        Ok(desk.document(None::<Id>, attributes))
    }

    fn gives(&self) -> (String, Vec<Id>) {
        (granting(&self.roles), Vec::new())
    }

    async fn settle(_: &mut Desk<'_>, draft: &mut Draft<Self>) -> Result<(), DomainError> {
        if draft.before().is_some_and(|before| before.attributes.system) {
            return Err(DomainError::Parameter {
                name: "id",
                message: "names a system role group: it stays as it is".into(),
            });
        }
        Ok(())
    }
}

fn not_built_in(name: String) -> Result<String, DomainError> {
    let folded = name.to_lowercase();
    match BUILT_IN.iter().any(|(taken, _)| taken.to_lowercase() == folded) {
        true => Err(DomainError::conflict("/name", "is the name of a system role group")),
        false => Ok(name),
    }
}

impl Creatable for RoleGroupAttributes {
    type MayCreate = CreateRoleGroups;
}

impl Changeable for RoleGroupAttributes {
    type MayUpdate = UpdateRoleGroups;
    type Update = RoleGroupBody;

    async fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: RoleGroupBody,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.description.or_clear();
        }
        let it = &mut draft.doc.attributes;
        if let Some(name) = body.name.0.filter(|name| *name != it.name) {
            it.name = not_built_in(name)?;
        }
        body.description.put(&mut it.description);
        body.display.put(&mut it.display);
        if let Some(roles) = body.roles.0 {
            desk.check_roles(&roles, &it.roles)?;
            it.roles = roles;
        }
        Ok(())
    }
}

impl Deletable for RoleGroupAttributes {
    type MayDelete = DeleteRoleGroups;
}
