//! What a handler takes from a request, parsed at the border.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{Request, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::query::DryRun;
use crate::app::App;
use crate::audit::RequestId;
use crate::authz::Caller;
use crate::ops::context::Context;
use crate::ops::error::OpError;
use crate::ops::reason::Reason;
use crate::service::Service;
use crate::wire::Object;

/// What operations work with: refused until the token was there.
pub(super) struct Bound(pub Arc<App>);

impl FromRequestParts<Arc<Service>> for Bound {
    type Rejection = OpError;

    async fn from_request_parts(_: &mut Parts, service: &Arc<Service>) -> Result<Self, OpError> {
        service.app().map(Self)
    }
}

/// The bytes of a JSON body: media type checked, length limited. For bodies that have a parser of their own.
pub(super) struct JsonBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Problem> {
        let json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        if !json {
            return Err(Problem::new(Reason::UnsupportedMediaType.into()));
        }
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(rejection) if rejection.status().as_u16() == 413 => Err(Problem::new(Reason::TooLarge.into())),
            Err(_) => Err(Problem::new(Reason::Malformed.with("the body did not arrive whole"))),
        }
    }
}

/// A JSON body of a fixed shape: unknown and duplicate members and trailing bytes are refused, and the answer says where, never what.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        // Derived parsers also take an array for a struct, and see no member twice inside a free-form one.
        Object::parse(&bytes).map_err(|error| Problem::new(error.into()))?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Problem::new(
                Reason::Malformed.with(format!("JSON of the documented form was expected; it ends at line {line}, column {column}")),
            )
        })
    }
}

/// A path segment parsed to an id; what does not parse names nothing, so it is not found.
pub(super) struct Id<T>(pub T);

impl<T: std::str::FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Reason::NotFound.into());
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| missing())?;
        text.parse().map(Self).map_err(|_| missing())
    }
}

/// The same of two path segments.
pub(super) struct Ids<A, B>(pub A, pub B);

impl<A: std::str::FromStr, B: std::str::FromStr, S: Send + Sync> FromRequestParts<S> for Ids<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let missing = || Problem::new(Reason::NotFound.into());
        let Path((one, other)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| missing())?;
        Ok(Self(one.parse().map_err(|_| missing())?, other.parse().map_err(|_| missing())?))
    }
}

/// Query parameters of a fixed shape.
pub(super) struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|_| Problem::new(Reason::Malformed.with("query parameters")))
    }
}

/// Who calls and which request it is. Put there by the request layer of each listener.
impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Caller>().cloned();
        let Some(request_id) = parts.extensions.get::<RequestId>().cloned() else {
            return Err(Problem::new(Reason::Internal.into()));
        };
        let dry_run = parts.extensions.get::<DryRun>().is_some();
        Ok(Self { principal, request_id, dry_run })
    }
}
