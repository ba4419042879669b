# The base with the pinned CLI of one agent, or of all. Built by scripts/build-images, which puts
# the CLIs into the build context: `agent-runner install` has checked each against its SHA-512.
ARG BASE
FROM ${BASE}

# The folder in the build context, and the agent that a session gets which names none.
ARG CLIS
ARG AGENT
COPY clis/${CLIS}/ /opt/agent-runner/

ENV AGENT_RUNNER_AGENT=${AGENT} \
    PATH=/opt/agent-runner/bin:/opt/agent-runner/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

LABEL com.agentuity.agent-runner.agents="${CLIS}"
