//! Users (contract `resources.md` §7).

use konverse_model::input::UserCreate;
use konverse_model::resource::{PasswordPolicy, User, UserAttributes};
use konverse_model::{Id, Kind};
use konverse_store::Space;

use super::entry::{Creatable, Desk, Entry, Imported, Name, Only};
use crate::access::permissions::{Anyone, CreateUsers, ReadUsers};
use crate::{Authorized, Domain, DomainError};

/// Which users a list is asked for; the contract does not combine them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UserFilter {
    /// Active ones.
    #[default]
    Active,
    /// Of one type.
    Type(String),
    /// Deactivated ones.
    Deleted,
    /// Invited ones who have not signed in yet. Nobody signs in here, so there are none.
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
            UserFilter::Type(label) => Only::Labelled(label),
            UserFilter::Deleted => Only::Deleted,
            // No user has the empty type, so this is a list like any other, with nobody in it.
            UserFilter::Pending => Only::Labelled(String::new()),
            UserFilter::Email(email) => Only::Named(Space::UserEmail, email.to_lowercase()),
        }
    }

    fn id(body: &UserCreate) -> Option<Id> {
        body.id.0.map(Id::from)
    }

    /// Nobody is invited: konverse has no sign-in and sends no mail.
    async fn fresh(desk: &mut Desk<'_>, mut body: UserCreate) -> Result<User, DomainError> {
        if let Some(actor) = desk.actor {
            // "Requested roles are cut down to the inviter's own" (contract README §4).
            let roles = body.roles.take().unwrap_or_else(|| vec!["org.admin".into(), "org.user".into()]);
            body.roles.0 = Some(roles.into_iter().filter(|role| actor.holds(role)).collect());
        }
        let attributes = UserAttributes {
            display_name: body.display_name.given(),
            name: body.name.0.unwrap_or_default(),
            email: body.email.0.unwrap_or_default(),
            user_type: body.user_type.0.unwrap_or_default(),
            mobile: body.mobile.given(),
            avatar_url: body.avatar_url.given(),
            email_signature: body.email_signature.given(),
            email_verified_at: None,
            is_email_valid: true,
            password: PasswordPolicy::default(),
            roles: body.roles.0.unwrap_or_default(),
            role_groups: body.role_groups.0.unwrap_or_default(),
            pending: false,
            first_login_at: None,
            most_recent_login_at: None,
            deleted_at: None,
            created_at: desk.created_at(body.created_at.0),
            updated_at: desk.now(),
            modified_at: desk.now(),
        };
        Ok(desk.document(body.id.0, attributes))
    }
}

impl Creatable for UserAttributes {
    type MayCreate = CreateUsers;
}

impl Imported for UserAttributes {
    fn known_by(body: &UserCreate) -> Option<(Space, String)> {
        body.email.0.as_ref().map(|email| (Space::UserEmail, email.to_lowercase()))
    }
}
