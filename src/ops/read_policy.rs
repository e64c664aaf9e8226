//! Reads which policies are in force, and why others are not. Works without the token: who may do what is known before it comes.

use serde::Serialize;

use super::context::Context;
use super::error::OpError;
use super::reason::Reason;
use crate::audit::{Occasion, Refusal as AuditRefusal};
use crate::authz::{Action, Circumstances, Resource};
use crate::schema;
use crate::service::Service;

/// The policies in force.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyReport {
    /// SHA-256 over the names and texts of the files, hexadecimal: `tillward policy check` prints the same for the same folder.
    #[schema(schema_with = schema::fingerprint)]
    pub digest: String,
    /// `built-in`, or `folder`.
    pub source: &'static str,
    /// Since when they are in force, RFC 3339.
    #[schema(schema_with = schema::time)]
    pub since: String,
    /// How often they were replaced since the start.
    pub replaced: u64,
    /// Why what is in the folder is not in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in_force: Option<String>,
    /// The policies, by id.
    pub policies: Vec<PolicyLine>,
}

/// A policy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PolicyLine {
    /// Its id, as in the audit log.
    pub id: String,
    /// The file it stands in.
    pub file: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The approvals that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// What it says, in words.
    pub comment: String,
}

/// Reads which policies are in force.
#[tracing::instrument(skip_all)]
pub async fn read_policy(service: &Service, context: &Context) -> Result<PolicyReport, OpError> {
    let now = Circumstances::at(service.clock.now());
    if let Err(denied) = service.authz.authorize(context.caller()?, Action::ReadPolicy, &Resource::policy(), now) {
        let occasion = Occasion { at: now.at, request: context.request_id.clone() };
        service.store.record(AuditRefusal::denied(&denied, &occasion)).await?;
        return Err(Reason::NotPermitted.into());
    }
    let standing = service.policies.standing();
    let policies = service.authz.policies();
    let line = |text: &crate::authz::PolicyText| PolicyLine {
        id: text.id.clone(),
        file: text.file.clone(),
        effect: if text.permits { "permit" } else { "forbid" },
        quorum: text.quorum,
        comment: text.comment.clone(),
    };
    Ok(PolicyReport {
        digest: data_encoding::HEXLOWER.encode(&policies.digest()),
        source: if service.policies.path().is_some() { "folder" } else { "built-in" },
        since: standing.since.rfc3339(),
        replaced: standing.replaced,
        not_in_force: standing.trouble,
        policies: policies.texts().iter().map(line).collect(),
    })
}
