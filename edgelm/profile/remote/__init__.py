"""Profiles on other machines, over SSH: the bundle and the runtime go there, are measured, and are taken away again.

connection    an SSH connection: the user's configuration, agent and known hosts; the library's errors in our words
agent         runs on the device: a folder of its own and the processes in it, both gone when the line to it is
agent_client  the other end of an agent: copy files, start processes, leave
preflight     what a device must be and have, before anything is copied
payload       what is copied
wheels        packages for the device's Python, found or downloaded here
pipeline      profile on one host, or on several at once
"""
