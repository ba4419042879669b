# What every image shares: agent-runner as PID 1, the user that agents run as, the places.
# Built by scripts/build-images, which puts the program into the build context. Nothing is
# downloaded here, and nothing depends on when it is built.
ARG BASE
FROM ${BASE}

# No `useradd`: it writes the date of the day into /etc/shadow. Without an entry there, the
# account has no password and cannot be logged in to.
RUN grep -q '^agent:' /etc/passwd || { \
        echo 'agent:x:1000:1000:agent:/home/agent:/bin/bash' >>/etc/passwd \
        && echo 'agent:x:1000:' >>/etc/group \
        && mkdir /home/agent && chown 1000:1000 /home/agent && chmod 0700 /home/agent; } \
    && mkdir -p /var/lib/agent-runner /workspace /opt/agent-runner/bin \
    && chmod 0700 /var/lib/agent-runner && chown 1000:1000 /workspace

COPY agent-runner /usr/local/bin/agent-runner

ENV AGENT_RUNNER_STATE_DIR=/var/lib/agent-runner \
    AGENT_RUNNER_WORKSPACE_DIR=/workspace \
    AGENT_RUNNER_PREFIX=/opt/agent-runner/bin \
    LANG=C.UTF-8

VOLUME ["/var/lib/agent-runner", "/workspace"]
WORKDIR /workspace
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD curl --silent --show-error --fail --max-time 4 \
        --unix-socket "$AGENT_RUNNER_STATE_DIR/api.sock" http://localhost/healthz

ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="agent-runner" \
    org.opencontainers.image.description="Runs AI coding agent CLIs under supervision and forwards their typed events to a Coder Hub" \
    org.opencontainers.image.source="https://github.com/agentuity/agent-runner" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

ENTRYPOINT ["agent-runner", "init"]
