//! The API's endpoints: a table with default deny.

mod table;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use http::Method;
use matchit::Router;

use super::model::Model;
use super::peek::Shape;

/// An endpoint of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What a grant lists to open it.
    pub group: EndpointGroup,
    /// The path with its parameters in braces: few enough to label a metric.
    pub route: &'static str,
    /// What is done with the request's body.
    pub body: BodyRule,
}

impl Endpoint {
    /// Whether this is the list of models, of which a caller sees a part.
    pub fn lists_models(&self) -> bool {
        self.route == "/v1/models"
    }
}

/// What is done with a request's body before anything goes upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRule {
    /// Held and read as JSON of this shape.
    Judged(Shape),
    /// Streamed through: a file, which names no model.
    Streamed,
    /// There is none, and one that is sent all the same is refused.
    Absent,
}

/// A request's path that is an endpoint's.
#[derive(Debug)]
pub struct Match {
    /// The endpoint.
    pub endpoint: &'static Endpoint,
    /// The path as the upstream knows it, without the alias.
    pub path: String,
    /// The model that the path names.
    pub model: Option<Model>,
}

/// A part of the API that a grant opens by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndpointGroup {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`: free of charge
    CountTokens,
    /// Message batches and their results
    Batches,
    /// The list of models: open to whoever may use a model
    Models,
    /// Files, shared by all users of one upstream key
    Files,
    /// Skills, shared by all users of one upstream key
    Skills,
    /// Managed agents
    Agents,
    /// Runs of deployed agents
    DeploymentRuns,
    /// Deployed agents
    Deployments,
    /// Dreams
    Dreams,
    /// Environments of managed agents
    Environments,
    /// Memory stores
    MemoryStores,
    /// Administration of the organization: keys, members, spending
    Organizations,
    /// Sessions of managed agents
    Sessions,
    /// Tunnels into private networks
    Tunnels,
    /// Profiles that usage is billed to
    UserProfiles,
    /// Credentials of managed agents
    Vaults,
}

impl EndpointGroup {
    /// All of them, in order.
    pub const ALL: [Self; 17] = [
        Self::Messages,
        Self::CountTokens,
        Self::Batches,
        Self::Models,
        Self::Files,
        Self::Skills,
        Self::Agents,
        Self::DeploymentRuns,
        Self::Deployments,
        Self::Dreams,
        Self::Environments,
        Self::MemoryStores,
        Self::Organizations,
        Self::Sessions,
        Self::Tunnels,
        Self::UserProfiles,
        Self::Vaults,
    ];

    /// The name that a grant lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Batches => "batches",
            Self::Models => "models",
            Self::Files => "files",
            Self::Skills => "skills",
            Self::Agents => "agents",
            Self::DeploymentRuns => "deployment_runs",
            Self::Deployments => "deployments",
            Self::Dreams => "dreams",
            Self::Environments => "environments",
            Self::MemoryStores => "memory_stores",
            Self::Organizations => "organizations",
            Self::Sessions => "sessions",
            Self::Tunnels => "tunnels",
            Self::UserProfiles => "user_profiles",
            Self::Vaults => "vaults",
        }
    }

    /// Whether a request of this group always names a model.
    pub fn takes_model(self) -> bool {
        matches!(self, Self::Messages | Self::CountTokens | Self::Batches)
    }

    /// Whether a model answers requests of this group that name one.
    pub fn answers(self) -> bool {
        matches!(self, Self::Messages | Self::Batches)
    }

    /// All names, for a message.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// The layout of a JSON body.
    fn shape(self, path: &str) -> Shape {
        match (self, path) {
            (Self::Messages | Self::CountTokens, _) => Shape::Message,
            (Self::Batches, "/v1/messages/batches") => Shape::Batch,
            _ => Shape::Resource,
        }
    }
}

impl fmt::Display for EndpointGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for EndpointGroup {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|group| group.name() == name).ok_or(())
    }
}

/// Finds the endpoint of a request. `path` is without its query: a query never changes the match. `/claude/...` is an
/// alias of `/v1/...`.
///
/// A path is matched only as it is written: escapes, empty or dot segments and other letter case match nothing, so that
/// what is judged here and what the upstream reads cannot differ.
pub fn find(method: &Method, path: &str) -> Option<Match> {
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.:@".contains(&byte)) {
        return None;
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return None;
    }
    let path = match path.strip_prefix("/claude/") {
        Some(rest) => format!("/v1/{rest}"),
        None => path.to_owned(),
    };
    let found = ROUTES.at(&path).ok()?;
    let (_, endpoint) = found.value.iter().find(|(allowed, _)| allowed == method)?;
    let model = match endpoint.group {
        EndpointGroup::Models => {
            found.params.iter().next().map(|(_, id)| Model::parse(id).ok_or(())).transpose().ok()?
        }
        _ => None,
    };
    Some(Match { endpoint, path, model })
}

type Methods = Vec<(Method, Endpoint)>;

static ROUTES: LazyLock<Router<Methods>> = LazyLock::new(|| {
    let mut routes = Router::new();
    for &(group, paths) in table::TABLE {
        for &(methods, route) in paths {
            let endpoints = methods.split(' ').map(|method| {
                let (method, body) = match method {
                    "GET" => (Method::GET, BodyRule::Absent),
                    "DELETE" => (Method::DELETE, BodyRule::Absent),
                    "UPLOAD" => (Method::POST, BodyRule::Streamed),
                    _ => (Method::POST, BodyRule::Judged(group.shape(route))),
                };
                (method, Endpoint { group, route, body })
            });
            // The table has no route twice, as a test proves; one that were would be left out, which denies.
            let _ = routes.insert(route, endpoints.collect());
        }
    }
    routes
});

#[cfg(test)]
mod tests {
    use super::*;

    fn group(method: &Method, path: &str) -> Option<&'static str> {
        find(method, path).map(|found| found.endpoint.group.name())
    }

    #[test]
    fn every_row_of_the_table_is_found() {
        let mut rows = 0;
        for (group, paths) in table::TABLE {
            for (methods, route) in *paths {
                let path: String = route
                    .split('/')
                    .map(|segment| if segment.starts_with('{') { "claude-opus-5" } else { segment })
                    .collect::<Vec<_>>()
                    .join("/");
                for method in methods.split(' ') {
                    let method: Method = method.replace("UPLOAD", "POST").parse().unwrap();
                    let found = find(&method, &path).unwrap_or_else(|| panic!("{method} {path}"));
                    assert_eq!((found.endpoint.group, found.endpoint.route), (*group, *route));
                    rows += 1;
                }
            }
        }
        assert_eq!(rows, 271, "as many as the SDKs have");
    }

    #[test]
    fn the_alias_is_rewritten_and_bodies_have_their_rule() {
        let found = find(&Method::POST, "/claude/messages").unwrap();
        assert_eq!((found.path.as_str(), found.endpoint.body), ("/v1/messages", BodyRule::Judged(Shape::Message)));
        let rule = |method, path| find(&method, path).unwrap().endpoint.body;
        assert_eq!(rule(Method::POST, "/v1/messages/batches"), BodyRule::Judged(Shape::Batch));
        assert_eq!(rule(Method::POST, "/v1/messages/batches/b_1/cancel"), BodyRule::Judged(Shape::Resource));
        assert_eq!(rule(Method::POST, "/v1/files"), BodyRule::Streamed);
        assert_eq!(rule(Method::GET, "/v1/files"), BodyRule::Absent);
        assert_eq!(find(&Method::GET, "/v1/models/claude-opus-5").unwrap().model, Model::parse("claude-opus-5"));
    }

    #[test]
    fn whatever_is_not_in_the_table_is_no_endpoint() {
        for path in [
            "/",
            "",
            "/v1",
            "/v1/",
            "/v1/messages/",
            "//v1/messages",
            "/v1//messages",
            "/V1/messages",
            "/v1/Messages",
            "/v1/%6dessages",
            "/v1/messages%2f",
            "/v1/files/../messages",
            "/v1/./messages",
            "/v1/files/..",
            "/v1/complete",
            "/v1/oauth/token",
            "/v2/messages",
            "/claude",
            "/claude/v1/messages",
            "/claude/claude/messages",
            "/v1/messages\\x",
            "/v1/messages;x=1",
            "/v1/mess\u{e4}ges",
            "v1/messages",
            "/v1/files/a/b/c/d",
        ] {
            assert_eq!(group(&Method::POST, path), None, "{path}");
        }
        for method in
            [Method::GET, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::TRACE]
        {
            assert_eq!(group(&method, "/v1/messages"), None, "{method}");
        }
        assert_eq!(group(&Method::GET, "/v1/models/Claude-Opus-5"), None);
    }
}
