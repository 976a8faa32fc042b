//! Access tokens: making, reading and revoking them (contract README §3, `resources.md` §9).
//!
//! A token is shown once, when it is made; only its SHA-256 is kept. It carries 256 random bits, so a fast hash is
//! enough: there is nothing to guess from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konverse_model::resource::{PasswordPolicy, Token, TokenAttributes, UserAttributes, UserType};
use konverse_model::{Document, Instant, Kind, OrgId, Rel, Role, TokenId, UserId};
use konverse_store::{Changes, Hidden, NewCredential, Op, Org, Space};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::permissions::{Anyone, ManageTokens, ReadTokens};
use crate::unit::Draft;
use crate::{Authorized, Domain, DomainError};

/// Characters of a token that are shown later to tell it from others.
pub(super) const SHOWN: usize = 6;

/// A token to make.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is for; also the name of its machine user.
    pub name: String,
    /// Its roles, fixed for good.
    pub roles: Vec<Role>,
    /// When it stops working.
    pub expires_at: Option<Instant>,
    /// The only addresses it may be used from.
    pub cidr: Option<ipnet::IpNet>,
}

/// What a token says of itself, to whoever takes it apart.
pub(super) struct Claims<'a> {
    pub(super) token: TokenId,
    pub(super) user: UserId,
    pub(super) user_type: &'static str,
    pub(super) roles: &'a [String],
    pub(super) expires_at: Option<Instant>,
}

/// A token that was made. Its secret is here and nowhere else.
pub struct MintedToken {
    /// The secret: what goes after `Bearer `.
    pub secret: String,
    /// Its public id.
    pub id: TokenId,
    /// The machine user behind it.
    pub user: UserId,
}

impl Domain {
    /// Makes a token with its machine user.
    pub async fn create_token(&self, org: &Org, new: NewToken) -> Result<MintedToken, DomainError> {
        if new.name.trim().is_empty() || new.name.chars().count() > 256 {
            return Err(DomainError::Parameter { name: "name", message: "must have 1 to 256 characters".into() });
        }
        if new.roles.is_empty() {
            return Err(DomainError::Parameter { name: "role", message: "must be given at least once".into() });
        }
        let now = self.now();
        let (token, user) = (TokenId(self.new_id()), UserId(self.new_id()));
        let roles: Vec<String> = new.roles.iter().map(|role| role.name().to_owned()).collect();
        let claims = Claims { token, user, user_type: "machine", roles: &roles, expires_at: new.expires_at };
        let secret = self.mint(org, &claims, now);
        let cidr = new.cidr.map(|cidr| cidr.trunc().to_string());

        let mut changes = Changes::new(org.id, now);
        let email = format!("{user}@machine.invalid");
        let attributes = UserAttributes {
            display_name: Some(new.name.clone()),
            name: new.name.clone(),
            email: email.clone(),
            user_type: UserType::Machine,
            mobile: None,
            avatar_url: None,
            email_signature: None,
            email_verified_at: None,
            is_email_valid: false,
            password: PasswordPolicy::default(),
            roles: roles.clone(),
            role_groups: Vec::new(),
            pending: false,
            first_login_at: None,
            most_recent_login_at: None,
            deleted_at: None,
            created_at: now,
            updated_at: now,
            modified_at: now,
        };
        let machine = Document::new(user.0, org.id, attributes);
        changes.claim(Space::UserEmail, email, user.0);
        Draft::new(machine).finish(None, &mut changes)?;

        let attributes = TokenAttributes {
            name: new.name,
            last_token_chars: secret[secret.len() - SHOWN..].to_owned(),
            ip_address: None,
            user_agent: None,
            roles: roles.clone(),
            session: false,
            cidr: cidr.clone(),
            expires_at: new.expires_at,
            revoked: false,
            created_at: now,
            updated_at: now,
            last_accessed_at: None,
        };
        let mut record: Token = Document::new(token.0, org.id, attributes);
        record.relationships.set("user", Rel::One(Kind::User, user.0));
        Draft::new(record).finish(None, &mut changes)?;
        changes.ops.push(Op::Admit(NewCredential {
            hash: Sha256::digest(secret.as_bytes()).into(),
            token,
            user,
            roles: roles.join(" "),
            cidr,
            expires_at: new.expires_at,
        }));
        self.apply(changes).await?;
        Ok(MintedToken { secret, id: token, user })
    }

    /// A token in the form of a JWT, as the vendor's are. Nothing ever reads it: its last part is random, and the whole
    /// is looked up by its hash.
    pub(super) fn mint(&self, org: &Org, claims: &Claims<'_>, now: Instant) -> String {
        let Claims { token, user, user_type, roles, expires_at } = *claims;
        let mut claims = json!({
            "id": token, "user": user, "org": org.id, "orgName": org.name, "userType": user_type,
            "roles": roles, "iat": now.millis() / 1000,
        });
        if let Some(at) = expires_at {
            claims["exp"] = json!(at.millis() / 1000);
        }
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let head = part(br#"{"alg":"HS256","typ":"JWT"}"#);
        format!("{head}.{}.{}", part(claims.to_string().as_bytes()), part(&self.ids.secret()))
    }

    /// The org's tokens, oldest first; revoked ones are not among them.
    pub async fn tokens(&self, org: &Org) -> Result<Vec<Token>, DomainError> {
        let mut pages = self.pages(org.id, Kind::Token, konverse_store::Scope::Org);
        let mut tokens = Vec::new();
        while let Some(rows) = pages.next().await? {
            for row in rows {
                tokens.push(Document::from_text(&row.doc)?);
            }
        }
        Ok(tokens)
    }

    /// Revokes a token: from the next request on it is unknown.
    pub async fn revoke_token(&self, org: &Org, id: TokenId) -> Result<(), DomainError> {
        self.revoke(org.id, id, None).await
    }

    /// One token, as text.
    pub async fn token(&self, auth: &Authorized<ReadTokens>, id: TokenId) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Token, id.0).await?.doc)
    }

    /// The presented token, as text.
    pub async fn current_token(&self, auth: &Authorized<Anyone>) -> Result<String, DomainError> {
        Ok(self.row(auth.org(), Kind::Token, presented(auth)?.0).await?.doc)
    }

    /// Revokes the presented token.
    pub async fn revoke_current_token(&self, auth: &Authorized<Anyone>) -> Result<(), DomainError> {
        self.revoke(auth.org(), presented(auth)?, auth.actor().user).await
    }

    /// Revokes a token of the org.
    pub async fn revoke_token_of_org(&self, auth: &Authorized<ManageTokens>, id: TokenId) -> Result<(), DomainError> {
        self.revoke(auth.org(), id, auth.actor().user).await
    }

    async fn revoke(&self, org: OrgId, id: TokenId, actor: Option<UserId>) -> Result<(), DomainError> {
        self.commit(|| async {
            let mut draft = Draft::<TokenAttributes>::read(self.row(org, Kind::Token, id.0).await?)?;
            draft.doc.attributes.revoked = true;
            draft.hidden = Hidden::Deleted;
            let mut changes = Changes::new(org, self.now());
            changes.ops.push(Op::Revoke(id));
            draft.finish(actor, &mut changes)?;
            Ok((changes, ()))
        })
        .await
        .map(drop)
    }
}

fn presented(auth: &Authorized<Anyone>) -> Result<TokenId, DomainError> {
    auth.actor().token.ok_or(DomainError::Unauthorized("No token was presented"))
}

impl std::fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MintedToken").field("id", &self.id).field("user", &self.user).finish_non_exhaustive()
    }
}
