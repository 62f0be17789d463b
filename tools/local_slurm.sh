#!/usr/bin/env bash
# A SLURM cluster of one node on this machine, with accounting, to rehearse `hydra/launcher=slurm` without a cluster.
#
#   tools/local_slurm.sh install      the Debian packages, as root
#   tools/local_slurm.sh start DIR    everything it writes lies in DIR: absolute, new or empty, short, on a local disk
#   export SLURM_CONF=DIR/slurm.conf  for sbatch, squeue, sacct and Sparrow
#   tools/local_slurm.sh stop DIR
#
# Jobs in its partition `urgent` take the place of those in `local`, which SLURM requeues at once, of those in
# `graceful`, which have a minute to end by themselves, and of those in `cancelling`, which have it too and do not return.
#
# It listens on the loopback interface only, as the user who starts it. LOCAL_SLURM_PORT (default 17400) is the first of
# the ports it takes, LOCAL_SLURM_CPUS (default 4) the cores that it claims, whether they exist or not.
set -euo pipefail

packages=(slurmctld slurmd slurm-client slurmdbd munge mariadb-server)
port=${LOCAL_SLURM_PORT:-17400}
cpus=${LOCAL_SLURM_CPUS:-4}
user=$(id -un)
host=$(hostname -s)

die() {
  echo "local_slurm: $*" >&2
  exit 1
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      tail -n 5 "$dir"/log/* >&2 || true
      die "$what did not answer; the ends of the logs stand above"
    fi
    sleep 0.2
  done
}

# daemon NAME COMMAND...: in the background, detached from the shell that starts it.
daemon() {
  local name=$1
  shift
  setsid "$@" >"$dir/log/$name.out" 2>&1 </dev/null &
  echo $! >"$dir/run/$name.started"
}

install_packages() {
  # The packages must not start services of their own: this policy is Debian's way to say so.
  local policy=/usr/sbin/policy-rc.d made=no
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    made=yes
  fi
  local ok=0
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" || ok=$?
  if [ $made = yes ]; then rm -f $policy; fi
  return $ok
}

write_settings() {
  local memory_mb
  memory_mb=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
  cat >"$dir/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SrunPortRange=$((port + 10))-$((port + 99))
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=10
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.log
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 2))
AccountingStoragePass=$dir/run/munge.socket
JobAcctGatherType=jobacct_gather/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
JobRequeue=1
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=localhost NodeHostname=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory_mb
PartitionName=local Nodes=localhost Default=YES MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=localhost MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
PartitionName=graceful Nodes=localhost MaxTime=INFINITE GraceTime=60 State=UP
PartitionName=cancelling Nodes=localhost MaxTime=INFINITE GraceTime=60 PreemptMode=CANCEL State=UP
CONF
  local password
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  (
    umask 077
    head -c 64 /dev/urandom >"$dir/munge/key"
    cat >"$dir/database.sql" <<SQL
CREATE DATABASE slurm_acct_db;
CREATE USER slurm@'127.0.0.1' IDENTIFIED BY '$password';
GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';
SQL
    cat >"$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 2))
SlurmUser=$user
PidFile=$dir/run/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 3))
StorageLoc=slurm_acct_db
StorageUser=slurm
StoragePass=$password
CONF
  )
}

start() {
  if [ -n "$(ls -A "$dir" 2>/dev/null)" ]; then die "$dir is not empty; stop what runs there and remove it"; fi
  for program in slurmctld slurmd slurmdbd munged mariadbd; do
    command -v "$program" >/dev/null || die "$program is missing; run: tools/local_slurm.sh install"
  done
  mkdir -p "$dir"/{log,run,munge,state,spool}
  chmod 755 "$dir" "$dir"/{log,run,munge,state,spool}
  write_settings

  daemon munged munged --foreground --key-file="$dir/munge/key" --socket="$dir/run/munge.socket" \
    --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" --seed-file="$dir/munge/seed"
  wait_for 20 munged munge --socket="$dir/run/munge.socket" --no-input

  mariadb-install-db --no-defaults --user="$user" --datadir="$dir/database" \
    --auth-root-authentication-method=normal --skip-test-db >"$dir/log/mariadb-install.log" 2>&1
  daemon mariadbd mariadbd --no-defaults --user="$user" --datadir="$dir/database" --socket="$dir/run/mariadb.socket" \
    --pid-file="$dir/run/mariadbd.pid" --bind-address=127.0.0.1 --port=$((port + 3)) --skip-name-resolve \
    --init-file="$dir/database.sql" --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --skip-log-bin
  wait_for 60 mariadbd mariadb-admin --no-defaults --socket="$dir/run/mariadb.socket" --user=root ping
  daemon slurmdbd slurmdbd -D
  wait_for 30 slurmdbd sacctmgr --noheader list cluster
  sacctmgr --immediate add cluster local >/dev/null

  daemon slurmctld slurmctld -D -i
  daemon slurmd slurmd -D -N localhost
  wait_for 60 "the node" sh -c '[ "$(sinfo --noheader --format=%t)" = idle ]'
  echo "ready: export SLURM_CONF=$SLURM_CONF"
}

stop() {
  local name id
  if kill -0 "$(cat "$dir/run/slurmctld.started" 2>/dev/null)" 2>/dev/null; then
    timeout 10 scancel --quiet --user="$user" || true
    for _ in $(seq 100); do
      [ -z "$(timeout 10 squeue --noheader)" ] && break
      sleep 0.2
    done
  fi
  for name in slurmd slurmctld slurmdbd mariadbd munged; do
    id=$(cat "$dir/run/$name.started" 2>/dev/null) || continue
    # A number from an old file may be another process by now.
    grep -qa "$name" "/proc/$id/cmdline" 2>/dev/null || continue
    kill "$id" 2>/dev/null || continue
    for _ in $(seq 150); do
      kill -0 "$id" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$id" 2>/dev/null || true
  done
}

PATH=$PATH:/usr/sbin:/sbin
case ${1:-} in
  install) install_packages ;;
  start | stop)
    dir=${2:?"give an absolute folder"}
    case $dir in /*) ;; *) die "the folder must be absolute, is $dir" ;; esac
    export SLURM_CONF=$dir/slurm.conf
    "$1"
    ;;
  *) die "usage: $0 install | start DIR | stop DIR" ;;
esac
