#!/usr/bin/env bash
# One Apache Kafka broker in KRaft mode, for tests, benches and trying things out.
#
#   scripts/kafka.sh fetch                                 fetch it into the cache (start does so by itself)
#   scripts/kafka.sh start DIR [--port P] [--proxy R] [--watch PID]
#                                                          start with its data in DIR; prints bootstrap=127.0.0.1:PORT
#   scripts/kafka.sh stop DIR [--now]                      stop it (--now: SIGKILL); the data stay, start goes on with them
#
# --proxy R: there is a second listener, printed as proxied=127.0.0.1:PORT, which tells clients to come back by
# port R: whatever listens there and passes on to it is in the way of all they say.
# A directory that was started before keeps its ports. --watch PID stops the broker when that process ends.
# Replication factors are 1, topics are never created by use, transactions work, timeouts are short.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=4.3.0
HEAP="${HERALD_KAFKA_HEAP:-512m}"

fetch_kafka() { copy_artifacts "$SCRIPTS/servers/kafka.pom.xml" "$1"; }

java_kafka() {
  local heap="$1"
  shift
  exec java "-Xmx$heap" "-Xms64m" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -Djava.awt.headless=true \
    "-Dlog4j2.configurationFile=$SCRIPTS/servers/log4j2.properties" -cp "$home/*" "$@"
}

configure() {
  local dir="$1" port="$2" controller="$3" proxied="$4" proxy="$5" more="" told=""
  if [ -n "$proxy" ]; then
    more=",PROXIED://127.0.0.1:$proxied"
    told=",PROXIED://127.0.0.1:$proxy"
  fi
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$more
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$told
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
num.partitions=1
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=8388608
log.retention.ms=-1
log.segment.bytes=134217728
log.initial.task.delay.ms=500
message.max.bytes=16777216
PROPERTIES
}

start() {
  local dir port="" controller watch="" id proxy="" proxied
  mkdir -p "$1"
  dir="$(cd "$1" && pwd)"
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --port) port="$2"; shift 2 ;;
      --proxy) proxy="$2"; shift 2 ;;
      --watch) watch="$2"; shift 2 ;;
      *) die "unknown option $1" ;;
    esac
  done
  home="$(fetched "kafka-$VERSION" fetch_kafka)"
  if alive "$dir"; then die "a broker runs in $dir already: scripts/kafka.sh stop $dir"; fi
  if [ ! -f "$dir/server.properties" ]; then
    read -r free controller proxied < <(free_ports 3)
    configure "$dir" "${port:-$free}" "$controller" "$proxied" "$proxy"
    id="$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')"
    # A cluster id that begins with a dash would be read as an option.
    (java_kafka 128m kafka.tools.StorageTool format --standalone -t "H${id:1}" -c "$dir/server.properties") >"$dir/format.log" 2>&1 ||
      { cat "$dir/format.log" >&2; die "formatting the broker's storage failed"; }
  fi
  port="$(sed -n 's/^listeners=PLAINTEXT:..127.0.0.1:\([0-9]*\),.*/\1/p' "$dir/server.properties")"
  launch "$dir" "$watch" bash -c '. "$1/lib.sh"; '"$(declare -f java_kafka)"'; home="$2" java_kafka "$3" kafka.Kafka "$4"' \
    kafka "$SCRIPTS" "$home" "$HEAP" "$dir/server.properties"
  await "$dir" 60 ready "$dir" "$port" || die "the broker in $dir did not start"
  echo "bootstrap=127.0.0.1:$port"
  sed -n 's/^listeners=.*,PROXIED:..\(127.0.0.1:[0-9]*\).*/proxied=\1/p' "$dir/server.properties"
}

# The log line comes after the metadata is loaded; the port alone opens earlier.
ready() { listens "$2" && grep -q 'Kafka Server started' "$1/log"; }

case "${1:-}" in
  fetch) fetched "kafka-$VERSION" fetch_kafka >/dev/null ;;
  start) [ $# -ge 2 ] || die "start needs a directory"; shift; start "$@" ;;
  stop)
    [ $# -ge 2 ] || die "stop needs a directory"
    case "${3:-}" in
      "") halt "$2" ;;
      --now) halt "$2" KILL ;;
      *) die "unknown option $3" ;;
    esac
    ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
