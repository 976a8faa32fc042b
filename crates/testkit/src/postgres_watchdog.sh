# Runs one throw-away PostgreSQL server for as long as somebody holds the other end of standard input.
#
# Arguments: the directory to use (exists, empty, removed at the end), the directory of the PostgreSQL programs, the
# loopback port. Standard input is a pipe held by the test process: the kernel closes it however that process ends, so
# the server goes away even after a SIGKILL. Writes "log" and, once the server is gone, "exited" into the directory. Files in
# its folder "tls" replace those of the data folder, and then the server talks TLS.

dir=$1 bin=$2 port=$3

# PostgreSQL refuses to run as root; then it runs as somebody else, who owns nothing but the data folder.
owner=
mkdir "$dir/data"
if [ "$(id -u)" = 0 ]; then
    if id postgres >/dev/null 2>&1; then owner=postgres; else owner=nobody; fi
    chown "$owner" "$dir/data"
fi

as_owner() {
    if [ -z "$owner" ]; then
        "$@"
    elif command -v setpriv >/dev/null 2>&1; then
        setpriv --reuid="$owner" --regid="$(id -g "$owner")" --init-groups -- "$@"
    elif command -v runuser >/dev/null 2>&1; then
        runuser -u "$owner" -- "$@"
    else
        su -s /bin/sh -c 'exec "$@"' -- "$owner" sh "$@"
    fi
}

init() {
    as_owner "$bin/initdb" -D "$dir/data" --no-sync --no-instructions -A trust -U konverse -E UTF8 --locale="$1"
}

tls() {
    [ -d "$dir/tls" ] || return 0
    cp "$dir/tls/"* "$dir/data/" && chmod 600 "$dir/data/server.key" || return
    [ -z "$owner" ] || chown "$owner" "$dir/data/"*
    as_owner tee -a "$dir/data/postgresql.conf" >/dev/null <<'END'
ssl = on
ssl_ca_file = 'root.crt'
END
}

# Durability is off: the data lives no longer than the tests. Autovacuum would connect to databases that are being
# copied as templates.
serve() {
    as_owner "$bin/postgres" -D "$dir/data" -p "$port" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=300 \
        -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c autovacuum=off
}

{
    { init C.UTF-8 || init C; } && tls && serve
    echo "$?" >"$dir/exited"
} </dev/null >"$dir/log" 2>&1 &

trap '' INT HUP TERM
cat >/dev/null

# SIGQUIT is PostgreSQL's immediate shutdown. Repeated, because the test process may have ended while the server was
# still being set up; bounded, because a server whose folder is gone ends by itself. While initdb works the file holds
# a negative number, which must not be taken for a process.
tries=0
while [ ! -e "$dir/exited" ] && [ "$tries" -lt 300 ]; do
    pid=$(head -n 1 "$dir/data/postmaster.pid" 2>/dev/null)
    case $pid in
        '' | *[!0-9]*) ;;
        *) kill -QUIT "$pid" 2>/dev/null ;;
    esac
    tries=$((tries + 1))
    sleep 0.1
done
rm -rf "$dir"
