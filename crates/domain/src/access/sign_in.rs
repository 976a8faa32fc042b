//! Sign-in of people with e-mail address and password (contract README §3), and the sessions it opens.
//!
//! A session is a token like others, but for its roles: it has those of its user as of each request (see
//! [`konverse_store::Op::Hold`]). It ends after twelve hours, or thirty days where it was asked to be remembered; when it
//! is revoked; and with a new password or the deactivation of its user.
//!
//! Whatever is wrong (the org, the address, the password, that there is none, that the user is deactivated), the answer is
//! the same after the same work.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use konverse_model::resource::{Token, TokenAttributes, UserAttributes, UserType};
use konverse_model::{Document, Id, Instant, Kind, OrgId, Rel, Role, TokenId, UserId};
use konverse_store::{Changes, Hidden, Holding, NewCredential, Op, Org, PasswordHash, Row, Space};
use sha2::{Digest, Sha256};

use super::password::{check_new, policy};
use super::throttle::{Counted, network};
use super::tokens::{Claims, SHOWN};
use crate::unit::Draft;
use crate::{Domain, DomainError};

/// How long a session lasts, in milliseconds.
const SESSION_MS: i64 = 12 * 3_600_000;

/// How long one lasts that was asked to be remembered.
const REMEMBERED_MS: i64 = 30 * 86_400_000;

/// Sessions a user may have: with one more the oldest ends.
const MOST_SESSIONS: usize = 20;

const REFUSED: DomainError = DomainError::Unauthorized("The domain, the e-mail address or the password is wrong");

/// Somebody who wants to come in.
#[derive(Clone)]
pub struct SignIn {
    /// The org's name, or a host name that begins with it.
    pub domain: String,
    /// Their address.
    pub email: String,
    /// Their password.
    pub password: String,
    /// Whether the session lasts long.
    pub remember: bool,
    /// Where they are.
    pub address: Option<IpAddr>,
    /// The program they use.
    pub user_agent: Option<String>,
}

/// A session that was opened. Its secret is here and nowhere else.
pub struct Session {
    /// The secret: what goes after `Bearer `.
    pub secret: String,
    /// What there is to show of it.
    pub token: Token,
    /// When it ends.
    pub expires_at: Instant,
    /// What a browser must repeat in a header, to show that its page meant to send the cookie.
    pub csrf: String,
}

impl Domain {
    /// Opens a session.
    pub async fn sign_in(&self, asked: SignIn) -> Result<Session, DomainError> {
        let name = asked.domain.split('.').next().unwrap_or_default().to_lowercase();
        let email = asked.email.to_lowercase();
        let network = network(asked.address);
        let org = self.store.org_named(&name).await?;
        // Where there is no org, the same is asked of one that cannot be.
        let id = org.as_ref().map_or(OrgId(Id::from_bytes([0; 12])), |org| org.id);
        let holder = self.store.holders(id, &[(Space::UserEmail, email.clone())]).await?.pop().flatten();
        let user = UserId(holder.unwrap_or(Id::from_bytes([0; 12])));
        let remembered = self.store.is_remembered(id, user, &network).await?;
        let counted = Counted::new(&name, &email, &network, remembered);
        self.may_try(&counted).await?;
        let place = self.passwords.place()?;
        self.count_attempt(&counted).await?;
        let hash = self.store.password(id, user).await?;
        let fits = place.fits(asked.password.clone(), hash.clone()).await?;
        let Some(org) = org.filter(|_| fits) else { return Err(REFUSED) };
        let session = self.open_session(&org, user, hash.as_deref(), &network, &asked).await?;
        self.forgive(&counted).await?;
        Ok(session)
    }

    async fn open_session(
        &self,
        org: &Org,
        user: UserId,
        hash: Option<&str>,
        network: &str,
        asked: &SignIn,
    ) -> Result<Session, DomainError> {
        let (applied, (stored, secret, expires_at)) = self
            .commit(|| async {
                let mut draft = self.person(org.id, user).await?;
                // Another may have been set since it was looked at; whoever sets one moves the user's revision.
                if self.store.password(org.id, user).await?.as_deref() != hash {
                    return Err(REFUSED);
                }
                let now = self.now();
                let expires_at = now.plus(if asked.remember { REMEMBERED_MS } else { SESSION_MS });
                let mut changes = Changes::new(org.id, now);
                self.make_room(org.id, user, &mut changes).await?;
                let attributes = &mut draft.doc.attributes;
                attributes.first_login_at.get_or_insert(now);
                attributes.most_recent_login_at = Some(now);
                attributes.pending = false;
                // What older releases stored of them says nothing beside the record.
                let (roles, groups) = (granting(&attributes.roles), attributes.role_groups.clone());
                changes.ops.push(Op::Hold(Holding { kind: Kind::User, owner: user.0, roles, groups }));
                changes.ops.push(Op::Remember(user, network.to_owned()));
                let along = self.store.roles_of(org.id, user).await?;
                let roles: BTreeSet<&str> = attributes
                    .roles
                    .iter()
                    .map(String::as_str)
                    .chain(along.split(' '))
                    .filter(|role| !role.is_empty())
                    .collect();
                let roles: Vec<String> = roles.into_iter().map(str::to_owned).collect();
                draft.finish(Some(user), &mut changes)?;
                let token = TokenId(self.new_id());
                let claims = Claims { token, user, user_type: "user", roles: &roles, expires_at: Some(expires_at) };
                let secret = self.mint(org, &claims, now);
                let attributes = TokenAttributes {
                    name: "Session".to_owned(),
                    last_token_chars: secret[secret.len() - SHOWN..].to_owned(),
                    ip_address: asked.address.map(|address| address.to_canonical().to_string()),
                    user_agent: asked.user_agent.clone(),
                    roles,
                    session: true,
                    cidr: None,
                    expires_at: Some(expires_at),
                    revoked: false,
                    created_at: now,
                    updated_at: now,
                    last_accessed_at: Some(now),
                };
                let mut record: Token = Document::new(token.0, org.id, attributes);
                record.relationships.set("user", Rel::One(Kind::User, user.0));
                let stored = Draft::new(record).finish(Some(user), &mut changes)?;
                changes.ops.push(Op::Admit(NewCredential {
                    hash: Sha256::digest(secret.as_bytes()).into(),
                    token,
                    user,
                    roles: String::new(),
                    cidr: None,
                    expires_at: Some(expires_at),
                }));
                Ok((changes, (stored, secret, expires_at)))
            })
            .await?;
        let csrf = URL_SAFE_NO_PAD.encode(&self.ids.secret()[..16]);
        Ok(Session { secret, token: stored.settle(&applied), expires_at, csrf })
    }

    /// A person who may sign in.
    async fn person(&self, org: OrgId, user: UserId) -> Result<Draft<UserAttributes>, DomainError> {
        let row = self.store.get(org, Kind::User, user.0).await?.filter(Row::shows).ok_or(REFUSED)?;
        let draft = Draft::<UserAttributes>::read(row)?;
        if draft.doc.attributes.user_type == UserType::Machine { Err(REFUSED) } else { Ok(draft) }
    }

    /// Ends a user's sessions that are over, and the oldest where there are too many for one more.
    async fn make_room(&self, org: OrgId, user: UserId, changes: &mut Changes) -> Result<(), DomainError> {
        let mut live = Vec::new();
        for draft in self.tokens_let_in(org, user).await?.into_iter().filter(|draft| draft.doc.attributes.session) {
            match draft.doc.attributes.expires_at.is_some_and(|at| at <= changes.at) {
                true => end(draft, Some(user), changes)?,
                false => live.push(draft),
            }
        }
        live.sort_by_key(|draft| (draft.doc.attributes.created_at, draft.doc.id));
        let too_many = (live.len() + 1).saturating_sub(MOST_SESSIONS);
        live.into_iter().take(too_many).try_for_each(|draft| end(draft, Some(user), changes))
    }

    /// Ends what lets a user in: sessions, and with `all` the tokens of a machine user as well; `but` one.
    pub(crate) async fn end_tokens(
        &self,
        user: UserId,
        all: bool,
        but: Option<TokenId>,
        actor: Option<UserId>,
        changes: &mut Changes,
    ) -> Result<(), DomainError> {
        for draft in self.tokens_let_in(changes.org, user).await? {
            if (all || draft.doc.attributes.session) && but != Some(TokenId(draft.doc.id)) {
                end(draft, actor, changes)?;
            }
        }
        Ok(())
    }

    async fn tokens_let_in(&self, org: OrgId, user: UserId) -> Result<Vec<Draft<TokenAttributes>>, DomainError> {
        let ids: Vec<Id> = self.store.tokens_of(org, user).await?.into_iter().map(Id::from).collect();
        let rows = self.store.get_many(org, Kind::Token, &ids).await?;
        rows.into_iter().filter(Row::shows).map(Draft::read).collect()
    }

    /// Gives a person a password: the operator's way, which needs none before. Ends their sessions.
    pub async fn set_password(&self, org: &Org, email: &str, password: &str) -> Result<UserId, DomainError> {
        check_new(password, "/password")?;
        let holder = self.store.holders(org.id, &[(Space::UserEmail, email.to_lowercase())]).await?.pop().flatten();
        let wrong = |message: String| DomainError::Parameter { name: "email", message };
        let user = UserId(holder.ok_or_else(|| wrong(format!("is of nobody in {}", org.name)))?);
        let hash = self.passwords.place()?.made(password.to_owned(), self.salt()).await?;
        self.commit(|| async {
            let row = self.store.get(org.id, Kind::User, user.0).await?.filter(Row::shows);
            let row = row.ok_or_else(|| wrong("is of a user who is deactivated".to_owned()))?;
            let mut draft = Draft::<UserAttributes>::read(row)?;
            if draft.doc.attributes.user_type == UserType::Machine {
                return Err(wrong("is of a machine user, who signs in by token".to_owned()));
            }
            let mut changes = Changes::new(org.id, self.now());
            self.end_tokens(user, false, None, None, &mut changes).await?;
            put_password(&mut draft, hash.clone(), &mut changes);
            draft.finish(None, &mut changes)?;
            Ok((changes, ()))
        })
        .await?;
        Ok(user)
    }

    /// Whether this is a person's password. Guesses count as they do at sign-in.
    pub(crate) async fn knows_password(
        &self,
        org: OrgId,
        user: UserId,
        email: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<String>, DomainError> {
        let network = network(address);
        // Not the name that signing in counts by: who holds a session does not hold up who has none.
        let counted = Counted::new(&format!("session of {org}"), &email.to_lowercase(), &network, true);
        self.may_try(&counted).await?;
        let place = self.passwords.place()?;
        self.count_attempt(&counted).await?;
        let hash = self.store.password(org, user).await?;
        let fits = place.fits(password.to_owned(), hash.clone()).await?;
        if fits {
            self.forgive(&counted).await?;
        }
        Ok(hash.filter(|_| fits))
    }

    /// The hash of a new password, which must be long enough.
    pub(crate) async fn new_hash(&self, password: &str, pointer: &'static str) -> Result<String, DomainError> {
        check_new(password, pointer)?;
        self.passwords.place()?.made(password.to_owned(), self.salt()).await
    }

    fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        salt.copy_from_slice(&self.ids.secret()[..16]);
        salt
    }
}

/// Puts what a changed password leaves into a change of its user.
pub(crate) fn put_password(draft: &mut Draft<UserAttributes>, hash: String, changes: &mut Changes) {
    draft.doc.attributes.password = policy(changes.at);
    changes.ops.push(Op::SetPassword(UserId(draft.doc.id), PasswordHash(hash)));
}

/// Role names as they are kept beside a record. A word that is no role grants nothing, and could be two words.
pub(crate) fn granting(roles: &[String]) -> String {
    let roles: Vec<&str> = roles.iter().map(String::as_str).filter(|role| role.parse::<Role>().is_ok()).collect();
    roles.join(" ")
}

fn end(mut draft: Draft<TokenAttributes>, actor: Option<UserId>, changes: &mut Changes) -> Result<(), DomainError> {
    draft.doc.attributes.revoked = true;
    draft.hidden = Hidden::Deleted;
    changes.ops.push(Op::Revoke(TokenId(draft.doc.id)));
    draft.finish(actor, changes).map(drop)
}

impl std::fmt::Debug for SignIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignIn").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("token", &self.token.id).finish_non_exhaustive()
    }
}
