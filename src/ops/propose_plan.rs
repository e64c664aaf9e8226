//! Proposes what only a quorum may ask for: makes the plan that officers sign. Dry, it says what the plan would be and what it would stop.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tillward_hsm::{Deed, KekForm, KekRef, KeyAlgorithm, KeyName, KeyRef, Plan, Purpose};

use super::context::Context;
use super::error::{OpError, Refusal};
use super::plan::{PlanView, quorum, resource};
use super::reason::Reason;
use super::usable_key::key_ref;
use super::{authorize, deed, refuse, sha256, turn_away};
use crate::app::App;
use crate::audit::{AuditEvent, Fact};
use crate::authz::{Action, Resource};
use crate::schema;
use crate::store::{PlanId, PlanRow, PlanState};

/// What is proposed: the deed by name, and the parts that it has.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBody {
    /// destroy-key, report-compromise, export-key, import-key, change-policy, change-officers, use-root-ca.
    #[schema(schema_with = schema::deed)]
    pub deed: String,
    /// The logical key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_name, required = false)]
    pub key: Option<KeyName>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub version: Option<u32>,
    /// What the key is for, where the service does not know it: of a key that comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_purpose, required = false)]
    pub purpose: Option<Purpose>,
    /// What it is, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_algorithm, required = false)]
    pub algorithm: Option<KeyAlgorithm>,
    /// The partner's KEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_name, required = false)]
    pub kek: Option<KeyName>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::key_version, required = false)]
    pub kek_version: Option<u32>,
    /// key-block or kwp.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::kek_form, required = false)]
    pub form: Option<KekForm>,
    /// SHA-256 of the file, block or policy set, 64 lower-case hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schema::optional::fingerprint, required = false)]
    pub content: Option<String>,
    /// Only say what the plan would be and what it would do.
    #[serde(default)]
    pub dry_run: bool,
}

/// The plan, and what it would do.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proposed {
    /// The plan.
    #[serde(flatten)]
    pub plan: PlanView,
    /// Whether it only would be.
    pub dry_run: bool,
    /// What it would stop or strand, as things are.
    #[schema(value_type = serde_json::Value)]
    pub check: Value,
}

/// Proposes a plan.
#[tracing::instrument(skip_all)]
pub async fn propose_plan(app: &App, context: &Context, body: &PlanBody) -> Result<Proposed, OpError> {
    let caller = context.caller()?;
    let requester = caller.principal().ok_or(Reason::NotPermitted)?.uri().to_string();
    let deed = match deed_of(app, body).await {
        Ok(deed) => deed,
        Err(OpError::Refused(refusal)) if refusal.reason != Reason::Malformed => {
            let nothing = Resource::plan("-", None);
            return Err(turn_away(app, context, caller, Action::ProposePlan, &nothing, refusal.reason).await);
        }
        Err(error) => return Err(error),
    };
    let target = deed::resource(app, &deed).await?;
    let now = app.clock.now();
    let id: [u8; 16] = app.hsm.random(16).await?.try_into().map_err(|_| OpError::internal("drawing an id", "another length"))?;
    let mut row = PlanRow {
        id: PlanId(id),
        bytes: Vec::new(),
        hash: [0; 32],
        requester: requester.clone(),
        deed: deed.name().to_owned(),
        resource: target.to_string(),
        acquirer: target.acquirers().iter().next().cloned(),
        created: now,
        expires: now.plus(app.settings.plan_seconds),
        state: PlanState::Open,
        closed: None,
    };
    let permit = authorize(app, context, caller, Action::ProposePlan, &resource(&row)).await?;
    let quorum = match quorum(app, &deed) {
        Ok(quorum) => quorum,
        Err(refusal) => return Err(refuse(app, context, permit, refusal).await),
    };
    let officers = app.officers.now().roster.who_can_approve(&requester);
    if u32::try_from(officers).is_ok_and(|officers| officers < quorum) {
        let detail = format!("the roster has {officers} officers who could approve this, and {quorum} have to");
        return Err(refuse(app, context, permit, Reason::ApprovalsMissing.with(detail)).await);
    }
    let check = match deed::check(app, context, &deed).await {
        Ok(check) => check,
        Err(OpError::Refused(refusal)) => return Err(refuse(app, context, permit, refusal).await),
        Err(error) => return Err(error),
    };
    let plan = Plan { id, requester, created: row.created.0, expires: row.expires.0, quorum, deed };
    row.bytes = plan.to_bytes();
    row.hash = sha256(&row.bytes);
    if Plan::parse(&row.bytes).as_ref() != Ok(&plan) {
        return Err(OpError::internal("making a plan", "it does not read back as it was meant"));
    }
    if !body.dry_run {
        let mut tx = app.store.begin().await?;
        tx.insert_plan(&row).await?;
        let event =
            AuditEvent::effect(permit, &context.occasion(app)).with("plan", Fact::plan(&row.bytes)).with("plan_hash", Fact::hex(&row.hash));
        tx.commit(event).await?;
    }
    Ok(Proposed { plan: PlanView::of(&row, &plan, &[], now), dry_run: body.dry_run, check })
}

/// The deed that a body names. A part that is missing, or is not one of this deed's, is refused.
async fn deed_of(app: &App, body: &PlanBody) -> Result<Deed, OpError> {
    const KEY: [&str; 4] = ["key", "version", "purpose", "algorithm"];
    const KEK: [&str; 7] = ["key", "version", "purpose", "algorithm", "kek", "kek_version", "form"];
    let parts = [
        ("key", body.key.is_some()),
        ("version", body.version.is_some()),
        ("purpose", body.purpose.is_some()),
        ("algorithm", body.algorithm.is_some()),
        ("kek", body.kek.is_some()),
        ("kek_version", body.kek_version.is_some()),
        ("form", body.form.is_some()),
        ("content", body.content.is_some()),
    ];
    let only = |allowed: &[&str]| {
        let foreign = parts.iter().find(|(name, there)| *there && !allowed.contains(name));
        foreign.map_or(Ok(()), |(name, _)| Err(malformed(format!("{name}: not a part of this deed"))))
    };
    match body.deed.as_str() {
        "destroy-key" => {
            only(&KEY)?;
            Ok(Deed::DestroyKey(key(app, body, false).await?))
        }
        "report-compromise" => {
            only(&KEY)?;
            Ok(Deed::ReportCompromise(key(app, body, false).await?))
        }
        "export-key" => {
            only(&KEK)?;
            Ok(Deed::ExportKey(key(app, body, false).await?, kek(app, body).await?))
        }
        "import-key" => {
            only(&[&KEK[..], &["content"]].concat())?;
            Ok(Deed::ImportKey(key(app, body, true).await?, kek(app, body).await?, content(body)?))
        }
        "change-policy" => {
            only(&["content"])?;
            Ok(Deed::ChangePolicy(content(body)?))
        }
        "change-officers" => {
            only(&["content"])?;
            Ok(Deed::ChangeOfficers(content(body)?))
        }
        "use-root-ca" => {
            only(&["content"])?;
            Ok(Deed::UseRootCa(content(body)?))
        }
        _ => Err(malformed(format!("deed: one of {}", Deed::NAMES.join(", "))).into()),
    }
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Reason::Malformed.with(detail)
}

fn missing(part: &'static str) -> impl Fn() -> Refusal {
    move || malformed(format!("{part}: missing"))
}

/// The version of a key. What the service knows of the key is what counts; a key that comes in may be new.
async fn key(app: &App, body: &PlanBody, may_be_new: bool) -> Result<KeyRef, OpError> {
    let name = body.key.clone().ok_or_else(missing("key"))?;
    let version = body.version.filter(|version| *version > 0).ok_or_else(missing("version"))?;
    let mut reads = app.store.read().await?;
    let key = match reads.find_key(&name, !may_be_new).await? {
        Some(row) => {
            let key = key_ref(&row, version);
            if body.purpose.is_some_and(|purpose| purpose != key.purpose)
                || body.algorithm.is_some_and(|algorithm| algorithm != key.algorithm)
            {
                return Err(Reason::KeyExists.into());
            }
            if !may_be_new && reads.find_version(&key.name, version).await?.is_none() {
                return Err(Reason::KeyUnknown.into());
            }
            key
        }
        None if may_be_new => KeyRef {
            name,
            version,
            purpose: body.purpose.ok_or_else(missing("purpose"))?,
            algorithm: body.algorithm.ok_or_else(missing("algorithm"))?,
        },
        None => return Err(Reason::KeyUnknown.into()),
    };
    // Of the design there are keys that no caller could make.
    let fits = !may_be_new || key.purpose.takes(key.algorithm);
    if fits { Ok(key) } else { Err(malformed("algorithm: not one for this purpose").into()) }
}

/// The partner's KEK: its form is its own.
async fn kek(app: &App, body: &PlanBody) -> Result<KekRef, OpError> {
    let name = body.kek.clone().ok_or_else(missing("kek"))?;
    let version = body.kek_version.filter(|version| *version > 0).ok_or_else(missing("kek_version"))?;
    let row = app.store.read().await?.find_key(&name, true).await?.ok_or_else(|| Reason::KeyUnknown.with("kek"))?;
    let form = row.shape.class.form().ok_or_else(|| Reason::KeyPurpose.with("kek: not a partner's KEK"))?;
    if body.form.is_some_and(|asked| asked != form) {
        return Err(Reason::KeyPurpose.with("kek: keys travel under it in the other form").into());
    }
    Ok(KekRef { name: row.name, version, form })
}

fn content(body: &PlanBody) -> Result<[u8; 32], Refusal> {
    let text = body.content.as_deref().ok_or_else(missing("content"))?;
    let hash = data_encoding::HEXLOWER.decode(text.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
    hash.ok_or_else(|| malformed("content: 64 lower-case hexadecimal digits"))
}
