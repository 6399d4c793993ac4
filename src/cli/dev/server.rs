//! A tiny MCP server behind the house: the official SDK's streamable HTTP server with two tools, for `dev` alone.

use std::{future::Future, sync::Arc};

use axum::Router;
use http::{header, request::Parts};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
        PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde_json::{Map, Value, json};

use super::provider::Provider;

/// The headers by which the house tells who calls.
const IDENTITY: [&str; 4] =
    ["x-forwarded-user", "x-forwarded-email", "x-forwarded-preferred-username", "x-forwarded-groups"];

/// The tools, with the provider at hand to ask whether an upstream token is real.
#[derive(Clone)]
struct Tools {
    provider: Arc<Provider>,
}

/// The endpoint `/mcp`.
pub(super) fn router(provider: Arc<Provider>) -> Router {
    let config = StreamableHttpServerConfig::default();
    let tools = move || Ok(Tools { provider: Arc::clone(&provider) });
    let service = StreamableHttpService::new(tools, Arc::new(LocalSessionManager::default()), config);
    Router::new().nest_service("/mcp", service)
}

impl Tools {
    /// What arrived from the house. The token itself is never repeated.
    fn whoami(&self, parts: Option<&Parts>) -> Value {
        let header = |name: &str| Some(parts?.headers.get(name)?.to_str().ok()?.to_owned());
        let mut answer: Map<String, Value> =
            IDENTITY.iter().filter_map(|name| Some(((*name).to_owned(), header(name)?.into()))).collect();
        let token = header(header::AUTHORIZATION.as_str());
        let verdict = match token.as_deref().and_then(|value| value.strip_prefix("Bearer ")) {
            None => "absent",
            Some(token) if self.provider.knows(token) => "present, and the provider accepts it",
            Some(_) => "present, but the provider does not know it",
        };
        answer.insert("upstream_token".to_owned(), verdict.into());
        answer.into()
    }
}

fn tools() -> Vec<Tool> {
    let schema = |properties: Value, required: Value| {
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        schema.as_object().cloned().unwrap_or_default()
    };
    vec![
        Tool::new("whoami", "Tells who the proxy says is calling.", schema(json!({}), json!([]))),
        Tool::new(
            "echo",
            "Returns the message.",
            schema(json!({ "message": { "type": "string" } }), json!(["message"])),
        ),
    ]
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("vestibule-dev", env!("CARGO_PKG_VERSION")))
            .with_instructions("Try `whoami`.")
    }

    fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ListToolsResult, ErrorData>> + Send + '_ {
        std::future::ready(Ok(ListToolsResult::with_all_items(tools())))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match &*request.name {
            "whoami" => self.whoami(context.extensions.get::<Parts>()).to_string(),
            "echo" => {
                let message = request.arguments.as_ref().and_then(|arguments| arguments.get("message")?.as_str());
                message.ok_or_else(|| ErrorData::invalid_params("`message` is missing", None))?.to_owned()
            }
            _ => return Err(ErrorData::invalid_params("no such tool", None)),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}
