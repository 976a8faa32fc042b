//! Users (contract `resources.md` §7).

use konverse_model::input::UserCreate;
use konverse_model::resource::{PasswordPolicy, User, UserAttributes};
use konverse_model::{Document, Id, Kind, OrgId, UserId};
use konverse_store::{Changes, Space};

use crate::access::permissions::{Anyone, CreateUsers, ReadUsers};
use crate::unit::{Draft, Stored};
use crate::{Authorized, Domain, DomainError, ListRequest, WholePage};

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
}

impl Domain {
    /// One user, as text.
    pub async fn user(&self, auth: &Authorized<ReadUsers>, id: UserId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::User, id.0).await?.doc)
    }

    /// Several users, in the order asked; unknown ids are left out.
    pub async fn users(
        &self,
        auth: &Authorized<ReadUsers>,
        ids: &[UserId],
        request: ListRequest,
    ) -> Result<WholePage, DomainError> {
        let ids: Vec<Id> = ids.iter().map(|id| id.0).collect();
        self.page_of(auth.org(), Kind::User, &ids, "id", request).await
    }

    /// The caller's own user, as text.
    pub async fn current_user(&self, auth: &Authorized<Anyone>) -> Result<String, DomainError> {
        let user = auth.actor().user.ok_or(DomainError::Unauthorized("No user behind this credential"))?;
        Ok(self.row(auth.org(), Kind::User, user.0).await?.doc)
    }

    /// Creates a user. Nobody is invited: konverse has no sign-in and sends no mail.
    pub async fn create_user(&self, auth: &Authorized<CreateUsers>, body: UserCreate) -> Result<User, DomainError> {
        let org = auth.org();
        let held = |role: &String| auth.actor().holds(role);
        let (applied, stored) = self
            .commit(|| async {
                let mut body = body.clone();
                // "Requested roles are cut down to the inviter's own" (contract README §4).
                let roles = body.roles.take().unwrap_or_else(|| vec!["org.admin".into(), "org.user".into()]);
                body.roles.0 = Some(roles.into_iter().filter(held).collect());
                let mut changes = Changes::new(org, self.now());
                let user = self.new_user(org, &mut changes, body, auth.actor().user, true).await?;
                Ok((changes, user))
            })
            .await?;
        Ok(stored.settle(&applied))
    }

    pub(crate) async fn new_user(
        &self,
        org: OrgId,
        changes: &mut Changes,
        body: UserCreate,
        author: Option<UserId>,
        look_up: bool,
    ) -> Result<Stored<UserAttributes>, DomainError> {
        let now = changes.at;
        let email = body.email.0.unwrap_or_default();
        if look_up {
            self.check_free(org, Kind::User, body.id.0.map(Id::from), None).await?;
            self.check_name(org, Space::UserEmail, &email.to_lowercase(), "/email").await?;
        }
        let created_at = body.created_at.0.filter(|at| *at <= now).unwrap_or(now);
        let attributes = UserAttributes {
            display_name: body.display_name.given(),
            name: body.name.0.unwrap_or_default(),
            email: email.clone(),
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
            created_at,
            updated_at: now,
            modified_at: now,
        };
        let mut user = Document::new(body.id.0.map_or_else(|| self.new_id(), Id::from), org, attributes);
        user.relationships.set_one("createdBy", Kind::User, author.map(Id::from));
        user.relationships.set_one("modifiedBy", Kind::User, author.map(Id::from));
        changes.claim(Space::UserEmail, email.to_lowercase(), user.id);
        Draft::new(user).finish(author, changes)
    }
}
