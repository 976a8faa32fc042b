//! Users (contract `resources.md` §7).

use std::net::IpAddr;

use konverse_model::input::{OwnUserUpdate, UserCreate, UserUpdate};
use konverse_model::resource::{PasswordPolicy, User, UserAttributes, UserType};
use konverse_model::{Id, Instant, Kind, Patch, UserId};
use konverse_store::Space;

use super::entry::{Changeable, Creatable, Desk, Entry, Imported, Name, Only};
use crate::access::permissions::{Anyone, CreateUsers, ReadUsers, UpdateUsers};
use crate::access::{granting, put_password};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError};

/// Which users a list is asked for; the contract does not combine them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserFilter {
    /// Those who are not deactivated.
    #[default]
    Active,
    /// Of one type.
    Type(String),
    /// Deactivated ones.
    Deleted,
    /// Invited ones who have not signed in yet.
    Pending,
    /// The one with this address.
    Email(String),
}

impl Domain {
    /// The caller's own user, as text.
    pub async fn current_user(&self, auth: &Authorized<Anyone>) -> Result<String, DomainError> {
        let user = auth.actor().user.ok_or(DomainError::Unauthorized("No user behind this credential"))?;
        Ok(self.row(auth.org(), Kind::User, user.0).await?.doc)
    }

    /// Changes the caller's own user, never their roles. A new password needs the old one, and ends the user's other
    /// sessions.
    pub async fn update_current_user(
        &self,
        auth: &Authorized<Anyone>,
        mut body: OwnUserUpdate,
        address: Option<IpAddr>,
    ) -> Result<User, DomainError> {
        let org = auth.org();
        let user = auth.actor().user.ok_or(DomainError::Unauthorized("No user behind this credential"))?;
        let password = match (body.password.take(), body.current_password.take()) {
            (None, None) => None,
            (None, Some(_)) => return Err(DomainError::invalid("/password", "is needed beside currentPassword")),
            (Some(_), None) => return Err(DomainError::invalid("/currentPassword", "is needed for a new password")),
            (Some(new), Some(current)) => {
                let known = Draft::<UserAttributes>::read(self.row(org, Kind::User, user.0).await?)?;
                if known.doc.attributes.user_type == UserType::Machine {
                    return Err(DomainError::invalid("/password", "is for people: a machine user has a token"));
                }
                let known = self.knows_password(org, user, &known.doc.attributes.email, &current, address).await?;
                let known = known.ok_or_else(|| DomainError::invalid("/currentPassword", "is not your password"))?;
                Some((known, self.new_hash(&new, "/password").await?))
            }
        };
        let (applied, stored) = self
            .commit(|| async {
                let (mut references, mut changes) = self.blank(auth.actor());
                let mut desk = Desk::at(self, auth.actor(), &mut references, &mut changes);
                let mut draft = desk.open::<UserAttributes>(user.0, false).await?;
                let body = body.clone();
                let it = &mut draft.doc.attributes;
                body.name.put(&mut it.name);
                body.display_name.put(&mut it.display_name);
                body.avatar_url.put(&mut it.avatar_url);
                body.mobile.put(&mut it.mobile);
                body.email_signature.put(&mut it.email_signature);
                if let Some((known, new)) = &password {
                    // Another may have been set meanwhile, which moved the user's revision.
                    if self.store.password(org, user).await?.as_ref() != Some(known) {
                        return Err(DomainError::invalid("/currentPassword", "is not your password"));
                    }
                    put_password(&mut draft, new.clone(), desk.changes);
                    self.end_tokens(user, false, auth.actor().token, Some(user), desk.changes).await?;
                }
                let stored = desk.keep(draft).await?;
                Ok((changes, stored))
            })
            .await?;
        Ok(stored.settle(&applied))
    }
}

impl Entry for UserAttributes {
    type Create = UserCreate;
    type Filter = UserFilter;
    type MayRead = ReadUsers;

    fn names(&self) -> Vec<Name> {
        vec![Name::folded(Space::UserEmail, &self.email, "/email")]
    }

    fn only(filter: UserFilter) -> Only {
        match filter {
            UserFilter::Active => Only::Shown,
            UserFilter::Type(label) => {
                let pending = format!("{label} pending");
                Only::Labelled(vec![label, pending])
            }
            UserFilter::Deleted => Only::Deleted,
            UserFilter::Pending => Only::Labelled(UserType::PENDING.map(str::to_owned).to_vec()),
            UserFilter::Email(email) => Only::Named(Space::UserEmail, email.to_lowercase()),
        }
    }

    fn id(body: &UserCreate) -> Option<Id> {
        body.id.0.map(Id::from)
    }

    /// Whoever is created by request is invited: they are pending until they first sign in. konverse sends no mail; the
    /// operator gives them their first password.
    async fn fresh(desk: &mut Desk<'_>, mut body: UserCreate) -> Result<User, DomainError> {
        if let Some(actor) = desk.actor {
            // "Requested roles are cut down to the inviter's own" (contract README §4).
            let roles = body.roles.take().unwrap_or_else(|| vec!["org.admin".into(), "org.user".into()]);
            body.roles.0 = Some(roles.into_iter().filter(|role| actor.holds(role)).collect());
        }
        let user_type = body.user_type.0.unwrap_or_default();
        let role_groups = body.role_groups.0.unwrap_or_default();
        desk.check_groups(&role_groups, &[]).await?;
        let attributes = UserAttributes {
            display_name: body.display_name.given(),
            name: body.name.0.unwrap_or_default(),
            email: body.email.0.unwrap_or_default(),
            user_type,
            mobile: body.mobile.given(),
            avatar_url: body.avatar_url.given(),
            email_signature: body.email_signature.given(),
            email_verified_at: None,
            is_email_valid: true,
            password: PasswordPolicy::default(),
            roles: body.roles.0.unwrap_or_default(),
            role_groups,
            pending: desk.actor.is_some() && user_type != UserType::Machine,
            first_login_at: None,
            most_recent_login_at: None,
            deleted_at: None,
            created_at: desk.created_at(body.created_at.0),
            updated_at: desk.now(),
            modified_at: desk.now(),
        };
        Ok(desk.document(body.id.0, attributes))
    }

    fn mark_deleted(&mut self, at: Option<Instant>) {
        self.deleted_at = at;
    }

    fn gives(&self) -> (String, Vec<Id>) {
        (granting(&self.roles), self.role_groups.clone())
    }

    /// Whoever is deactivated is let in no longer. Who is restored is given their roles anew: by nobody who does not hold them.
    async fn settle(desk: &mut Desk<'_>, draft: &mut Draft<Self>) -> Result<(), DomainError> {
        if draft.showed() && !draft.shows() {
            let actor = desk.author();
            desk.domain.end_tokens(UserId(draft.doc.id), true, None, actor, desk.changes).await?;
        }
        if draft.before().is_some() && !draft.showed() && draft.shows() {
            let it = &mut draft.doc.attributes;
            it.roles.retain(|role| desk.may_give(role));
            desk.check_groups(&it.role_groups, &[]).await?;
        }
        Ok(())
    }
}

impl Creatable for UserAttributes {
    type MayCreate = CreateUsers;
}

impl Changeable for UserAttributes {
    type MayUpdate = UpdateUsers;
    type Update = UserUpdate;

    fn deleted(body: &UserUpdate) -> Patch<bool> {
        body.deleted.clone()
    }

    /// With `replace`, roles and role groups that are not named stay: nobody means to take them away by that.
    async fn change(
        desk: &mut Desk<'_>,
        draft: &mut Draft<Self>,
        mut body: UserUpdate,
        replace: bool,
    ) -> Result<(), DomainError> {
        if replace {
            body.display_name.or_clear();
            body.avatar_url.or_clear();
            body.mobile.or_clear();
            body.email_signature.or_clear();
        }
        let it = &mut draft.doc.attributes;
        body.name.put(&mut it.name);
        body.email.put(&mut it.email);
        body.display_name.put(&mut it.display_name);
        body.avatar_url.put(&mut it.avatar_url);
        body.mobile.put(&mut it.mobile);
        body.email_signature.put(&mut it.email_signature);
        if let Some(user_type) = body.user_type.0 {
            if (user_type == UserType::Machine) != (it.user_type == UserType::Machine) {
                return Err(DomainError::invalid(
                    "/userType",
                    "cannot make a person of a machine user, nor the reverse",
                ));
            }
            it.user_type = user_type;
        }
        if let Some(groups) = body.role_groups.0 {
            desk.check_groups(&groups, &it.role_groups).await?;
            it.role_groups = groups;
        }
        if let Some(roles) = body.roles.0 {
            // Cut down as at creation; what they have already may stay.
            it.roles = roles.into_iter().filter(|role| it.roles.contains(role) || desk.may_give(role)).collect();
        }
        Ok(())
    }
}

impl Imported for UserAttributes {
    fn known_by(body: &UserCreate) -> Option<(Space, String)> {
        body.email.0.as_ref().map(|email| (Space::UserEmail, email.to_lowercase()))
    }
}
