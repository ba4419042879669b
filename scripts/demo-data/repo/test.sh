#!/bin/sh
# Tests greet.sh. Exit code: 0 all passed, 1 something failed.
cd "$(dirname "$0")" || exit 1
failed=0

check() {
  if [ "$2" = "$3" ]; then
    echo "ok   $1"
  else
    echo "FAIL $1: wanted \"$3\", got \"$2\""
    failed=1
  fi
}

check "greets the world by default" "$(sh greet.sh)" "Hello, world!"
check "greets by name" "$(sh greet.sh Ada)" "Hello, Ada!"
exit "$failed"
