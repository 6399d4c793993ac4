"""What the records lie in: private servers on the load's core, each in a folder of its own below `work`."""
import glob, os, shutil, subprocess, time

from run import LOAD_CORE, free_port

# PostgreSQL refuses to run as root; this user is on every system.
NOBODY = 65534


class Store:
    """Its name, its lines in the configuration, its folder, and its server if it has one."""

    def __init__(self, name, lines, folder=None, process=None):
        self.name, self.lines, self.folder, self.process = name, lines, folder, process

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()

    def size(self):
        """Bytes in its folder."""
        paths = [os.path.join(at, name) for at, _, names in os.walk(self.folder or "") for name in names]
        return sum(os.path.getsize(path) for path in paths if os.path.exists(path))


def memory(work, name="memory"):
    return Store(name, 'kind = "memory"')


def sled(work, name="sled"):
    folder = os.path.join(work, f"store-{name}")
    return Store(name, f'kind = "sled"\npath = "{folder}"', folder)


def redis(work, name, fsync):
    port, folder = free_port(), os.path.join(work, f"redis-{free_port()}")
    os.makedirs(folder)
    process = subprocess.Popen(["taskset", "-c", LOAD_CORE, "redis-server", "--port", str(port), "--bind", "127.0.0.1",
                                "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", fsync],
                               stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    return Store(name, f'kind = "redis"\nurl = "redis://127.0.0.1:{port}"', folder, process)


def redis_everysec(work, name="Redis, appendfsync everysec"):
    return redis(work, name, "everysec")


def redis_always(work, name="Redis, appendfsync always"):
    return redis(work, name, "always")


class Postgres(Store):
    def __init__(self, work, name):
        folders = sorted(glob.glob("/usr/lib/postgresql/*/bin")) + [os.path.dirname(shutil.which("postgres") or "")]
        self.bin, self.port = folders[0], free_port()
        folder = os.path.join(work, f"postgres-{self.port}")
        os.makedirs(folder)
        os.chmod(work, 0o755)
        self.user = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
        if self.user:
            os.chown(folder, NOBODY, NOBODY)
        data = os.path.join(folder, "data")
        subprocess.run([os.path.join(self.bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"], check=True,
                       stdout=subprocess.DEVNULL, cwd=folder, **self.user)
        process = subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, os.path.join(self.bin, "postgres"), "-D", data, "-k", folder, "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, **self.user)
        super().__init__(name, self.table("vestibule"), folder, process)
        for _ in range(100):
            if self.say("SELECT 1").returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("PostgreSQL does not start")

    def table(self, table):
        return (f'kind = "postgres"\nurl = "postgres://127.0.0.1:{self.port}/postgres"\nusername = "postgres"\n'
                f'table = "{table}"')

    def say(self, *statements):
        command = [os.path.join(self.bin, "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-At"]
        return subprocess.run(command + [word for text in statements for word in ("-c", text)], capture_output=True, text=True)

    def hurry(self, is_hurried):
        """While a table is filled nobody waits for the disk."""
        how = "SET synchronous_commit = off" if is_hurried else "RESET synchronous_commit"
        self.say(f"ALTER SYSTEM {how}", "SELECT pg_reload_conf()")


def postgres(work, name="PostgreSQL"):
    return Postgres(work, name)
