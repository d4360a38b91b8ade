# Runs inside: the unit with the sandbox's peers, its reloads, upgrades, watchdog and end.
set -euo pipefail
fail() {
  echo "FAILED: $1"
  journalctl --no-pager -u portcullis | tail -n 30
  exit 1
}
# Waits, for half a minute at the most, until a command succeeds.
until_true() {
  for _ in $(seq 300); do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "in half a minute never: $*"
}
main_pid() { systemctl show --property=MainPID --value portcullis; }
pid_changed() { [ "$(main_pid)" != "$1" ] && [ "$(main_pid)" != 0 ]; }
old_gone() { ! kill -0 "$1"; }

ip link set lo up
portcullis sandbox --directory /srv/sandbox --plaintext --listen 127.0.0.1:8080 --ready-file /srv/ready.json >/srv/sandbox.log 2>&1 &
until_true test -s /srv/ready.json
token=$(python3 -c 'import json; print(json.load(open("/srv/ready.json"))["token"])')
admin=$(python3 -c 'import json; print(json.load(open("/srv/ready.json"))["admin_url"].rsplit("/", 1)[1])')

mkdir -p /etc/portcullis
cp -r /srv/sandbox/. /etc/portcullis/
rm -rf /etc/portcullis/audit /etc/portcullis/state
sed -e 's/127.0.0.1:8080/127.0.0.1:8443/' -e "s/$admin/127.0.0.1:9465/" \
  -e 's|^directory = "audit"|directory = "/var/log/portcullis"|' -e '/^\[state\]/,/^directory/d' \
  /srv/sandbox/portcullis.toml >/etc/portcullis/portcullis.toml
test -s /etc/portcullis/anthropic-key || printf 'unused' >/etc/portcullis/anthropic-key
find /etc/portcullis -type d -exec chmod 755 {} + ; find /etc/portcullis -type f -exec chmod 644 {} +

systemctl daemon-reload
systemd-analyze verify /etc/systemd/system/portcullis.service || fail "the unit does not verify"
systemctl start portcullis || fail "it does not start"
echo "started: $(systemctl show --property=StatusText --value portcullis)"
until_true curl -fsS http://127.0.0.1:9465/readyz
until_true sh -c 'systemctl show --property=StatusText --value portcullis | grep -qx serving'

python3 /usr/local/lib/traffic.py http://127.0.0.1:8443 "$token" /tmp/stop /tmp/report &
traffic=$!

echo "reload: a good file, a bad one, a good one"
applied() { curl -fsS http://127.0.0.1:9465/metrics | grep -qx "portcullis_config_reloads_total{outcome=\"$1\"} $2"; }
echo '# changed' >>/etc/portcullis/portcullis.toml
printf '[door]\nrequests = "20000/s"\n' >>/etc/portcullis/portcullis.toml
systemctl reload portcullis
until_true applied applied 1
cp /etc/portcullis/portcullis.toml /tmp/good.toml
echo 'nonsense = 1' >>/etc/portcullis/portcullis.toml
systemctl reload portcullis
until_true applied refused 1
cp /tmp/good.toml /etc/portcullis/portcullis.toml

for upgrade in 1 2; do
  before=$(main_pid)
  cp /usr/local/bin/portcullis /usr/local/bin/portcullis.new
  mv /usr/local/bin/portcullis.new /usr/local/bin/portcullis
  systemctl kill --kill-whom=main --signal=USR2 portcullis
  until_true pid_changed "$before"
  until_true old_gone "$before"
  [ "$(systemctl is-active portcullis)" = active ] || fail "upgrade $upgrade has ended the service"
  echo "upgrade $upgrade: $before to $(main_pid)"
done
[ "$(systemctl show --property=NRestarts --value portcullis)" = 0 ] || fail "it was restarted"

sleep 3 # of traffic that the last process serves alone
touch /tmp/stop
wait "$traffic"
cat /tmp/report
grep -q ' 0 failed$' /tmp/report || fail "calls failed"

echo "watchdog: a process that hangs is replaced"
before=$(main_pid)
kill -STOP "$before"
for _ in $(seq 600); do
  if pid_changed "$before"; then break; fi
  sleep 0.1
done
pid_changed "$before" || fail "the watchdog did not bark"
until_true curl -fsS http://127.0.0.1:9465/readyz

systemctl stop portcullis
[ "$(systemctl show --property=Result --value portcullis)" = success ] || fail "it did not stop well"
portcullis audit verify /var/log/private/portcullis || fail "the log does not verify"
echo "stopped, and the log holds"
