#!/usr/bin/env bash
# One Apache Kafka broker in KRaft mode, for tests, benches and trying things out.
#
#   scripts/kafka.sh fetch                                 fetch it into the cache (start does so by itself)
#   scripts/kafka.sh start DIR [--port P] [--proxy R] [--secure] [--watch PID]
#                                                          start with its data in DIR; prints bootstrap=127.0.0.1:PORT
#   scripts/kafka.sh stop DIR [--now]                      stop it (--now: SIGKILL); the data stay, start goes on with them
#   scripts/kafka.sh topic DIR TOPIC [PARTITIONS]          create a topic
#   scripts/kafka.sh produce DIR TOPIC                     send a record for each line of standard input; KEY<TAB>VALUE has a key
#   scripts/kafka.sh consume DIR TOPIC                     print KEY<TAB>VALUE of all committed records that are there
#
# --proxy R: there is a second listener, printed as proxied=127.0.0.1:PORT, which tells clients to come back by
# port R: whatever listens there and passes on to it is in the way of all they say.
# --secure: there are two listeners more, printed as sasl=127.0.0.1:PORT (SASL over TLS: PLAIN or SCRAM-SHA-512, user
# herald, password herald-secret) and mutual=127.0.0.1:PORT (TLS with a certificate from either side). DIR/ca.pem signs;
# a client's are DIR/client.pem and DIR/client.key.
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
    "-Dlog4j2.configurationFile=$SCRIPTS/servers/${LOGGING:-log4j2}.properties" -cp "$home/*" "$@"
}

configure() {
  local dir="$1" port="$2" controller="$3" proxied="$4" proxy="$5" sasl="$6" mutual="$7" secure="$8" more="" told=""
  if [ -n "$proxy" ]; then
    more=",PROXIED://127.0.0.1:$proxied"
    told=",PROXIED://127.0.0.1:$proxy"
  fi
  if [ -n "$secure" ]; then
    more="$more,SASL://127.0.0.1:$sasl,MUTUAL://127.0.0.1:$mutual"
    told="$told,SASL://127.0.0.1:$sasl,MUTUAL://127.0.0.1:$mutual"
  fi
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$more
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$told
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL
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
  if [ -n "$secure" ]; then
    certificates "$dir"
    cat >>"$dir/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$dir/server.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_herald="herald-secret";
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
  fi
}

# An authority, and certificates that it signs for the broker and for a client.
certificates() (
  cd "$1"
  quiet() { "$@" >>certificates.log 2>&1 || { cat certificates.log >&2; die "making certificates failed"; }; }
  quiet openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
  for name in server client; do
    quiet openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$name.ext"
    quiet openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "$name.ext" -out "$name.pem"
  done
  cat server.key >>server.pem
)

start() {
  local dir port="" controller watch="" id proxy="" proxied sasl mutual secure="" scram=()
  mkdir -p "$1"
  dir="$(cd "$1" && pwd)"
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --port) port="$2"; shift 2 ;;
      --proxy) proxy="$2"; shift 2 ;;
      --secure) secure=yes; scram=(--add-scram 'SCRAM-SHA-512=[name=herald,password=herald-secret]'); shift ;;
      --watch) watch="$2"; shift 2 ;;
      *) die "unknown option $1" ;;
    esac
  done
  home="$(fetched "kafka-$VERSION" fetch_kafka)"
  if alive "$dir"; then die "a broker runs in $dir already: scripts/kafka.sh stop $dir"; fi
  if [ ! -f "$dir/server.properties" ]; then
    read -r free controller proxied sasl mutual < <(free_ports 5)
    configure "$dir" "${port:-$free}" "$controller" "$proxied" "$proxy" "$sasl" "$mutual" "$secure"
    id="$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')"
    # A cluster id that begins with a dash would be read as an option.
    (java_kafka 128m kafka.tools.StorageTool format --standalone -t "H${id:1}" "${scram[@]}" -c "$dir/server.properties") >"$dir/format.log" 2>&1 ||
      { cat "$dir/format.log" >&2; die "formatting the broker's storage failed"; }
  fi
  port="$(sed -n 's/^listeners=PLAINTEXT:..127.0.0.1:\([0-9]*\),.*/\1/p' "$dir/server.properties")"
  launch "$dir" "$watch" bash -c '. "$1/lib.sh"; '"$(declare -f java_kafka)"'; home="$2" java_kafka "$3" kafka.Kafka "$4"' \
    kafka "$SCRIPTS" "$home" "$HEAP" "$dir/server.properties"
  await "$dir" 60 ready "$dir" "$port" || die "the broker in $dir did not start"
  echo "bootstrap=127.0.0.1:$port"
  local listener
  for listener in PROXIED:proxied SASL:sasl MUTUAL:mutual; do
    sed -n "s/^listeners=.*,${listener%:*}:..\(127.0.0.1:[0-9]*\).*/${listener#*:}=\1/p" "$dir/server.properties"
  done
}

# The log line comes after the metadata is loaded; the port alone opens earlier.
ready() { listens "$2" && grep -q 'Kafka Server started' "$1/log"; }

# tool DIR CLASS ARGUMENT...: one of Kafka's own tools, for the broker in DIR.
tool() {
  local dir="$1" port
  shift
  [ -f "$dir/server.properties" ] || die "there is no broker in $dir: scripts/kafka.sh start $dir"
  port="$(sed -n 's/^listeners=PLAINTEXT:..127.0.0.1:\([0-9]*\),.*/\1/p' "$dir/server.properties")"
  home="$(fetched "kafka-$VERSION" fetch_kafka)"
  (LOGGING=quiet java_kafka 128m "$1" --bootstrap-server "127.0.0.1:$port" "${@:2}")
}

# Lines without a tab are values without a key.
with_keys() { awk -F '\t' '{ if (NF > 1) print; else print "\\N\t" $0 }'; }

case "${1:-}" in
  topic)
    [ $# -ge 3 ] || die "topic needs a directory and a name"
    tool "$2" org.apache.kafka.tools.TopicCommand --create --topic "$3" --partitions "${4:-1}" 2>/dev/null
    ;;
  produce)
    [ $# -eq 3 ] || die "produce needs a directory and a topic"
    with_keys | tool "$2" org.apache.kafka.tools.ConsoleProducer --topic "$3" --reader-property parse.key=true \
      --reader-property null.marker='\N' 2>/dev/null
    ;;
  consume)
    [ $# -eq 3 ] || die "consume needs a directory and a topic"
    tool "$2" org.apache.kafka.tools.consumer.ConsoleConsumer --topic "$3" --from-beginning --timeout-ms 3000 \
      --isolation-level read_committed --formatter-property print.key=true 2>/dev/null || true
    ;;
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
  *) sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac
