//! Which agent belongs to which tree of agents.

use std::time::Duration;

use moka::sync::Cache;

use super::key::Identity;

/// The root of every agent that was seen lately.
pub(super) struct AgentTrees(Cache<Identity, Identity>);

impl AgentTrees {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(AGENTS).time_to_idle(IDLE).build())
    }

    /// The root of the tree that `agent` belongs to: itself without a parent, else the parent's root. An agent keeps the root
    /// that it had first, whatever parent it names later.
    pub fn root(&self, agent: Identity, parent: Option<Identity>) -> Identity {
        let parents_root = || parent.map(|parent| self.0.get(&parent).unwrap_or(parent));
        self.0.get_with(agent, || parents_root().unwrap_or(agent))
    }
}

/// Agents that are remembered. One that is forgotten is its own root, or its parent's, from then on.
const AGENTS: u64 = 65_536;
const IDLE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_count_with_the_one_that_began_their_tree() {
        let (trees, [a, b, c, d]) = (AgentTrees::new(), [[1; 16], [2; 16], [3; 16], [4; 16]]);
        assert_eq!(trees.root(a, None), a);
        assert_eq!(trees.root(b, Some(a)), a);
        assert_eq!(trees.root(c, Some(b)), a);
        assert_eq!(trees.root(d, None), d);
    }

    #[test]
    fn an_agent_cannot_leave_its_tree_and_a_circle_ends() {
        let (trees, [a, b, c]) = (AgentTrees::new(), [[1; 16], [2; 16], [3; 16]]);
        assert_eq!(trees.root(a, Some(b)), b);
        assert_eq!(trees.root(b, Some(a)), b);
        assert_eq!(trees.root(a, Some(c)), b);
        assert_eq!(trees.root(a, None), b);
    }
}
