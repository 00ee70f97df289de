//! Frozen containers: their processes stand still while their sockets stay open, so connections are
//! accepted and nothing answers (cgroup freezer, `runc pause`).

use super::Machines;
use super::types::{ContainerId, MachinesEvent};
use crate::sim::context::Cx;

impl Machines {
    /// Freezes all processes of a running container.
    pub fn freeze(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id).filter(|c| c.is_running()) else {
            return;
        };
        container.held.get_or_insert_default();
        self.reschedule(id, cx);
    }

    /// Lets them go on: what came meanwhile happens now.
    pub fn thaw(&mut self, id: ContainerId, cx: &mut Cx<'_>) {
        let Some(container) = self.containers.get_mut(&id) else { return };
        for event in container.held.take().into_iter().flatten() {
            cx.queue.at(cx.now, event);
        }
        self.reschedule(id, cx);
        // Requests that were accepted by the kernel.
        cx.queue.at(cx.now, MachinesEvent::Thawed(id));
    }

    /// The container with this number, if it was started and is known still.
    pub fn container(&self, number: u64) -> Option<ContainerId> {
        let id = ContainerId(number);
        self.containers.contains_key(&id).then_some(id)
    }

    /// Keeps what a frozen process would have to do; what does not need the process comes back.
    pub(super) fn unless_frozen(&mut self, event: MachinesEvent) -> Option<MachinesEvent> {
        let held = match event {
            MachinesEvent::Launch(id)
            | MachinesEvent::Listen(id, _)
            | MachinesEvent::WaitDone(id, _)
            | MachinesEvent::Stop(id)
            | MachinesEvent::CloseListeners(id)
            | MachinesEvent::Exit(id, _) => {
                self.containers.get_mut(&id).and_then(|container| container.held.as_mut())
            }
            // The kernel accepts connections; CPU work is scheduled anew when it goes on.
            MachinesEvent::CpuDone(_) | MachinesEvent::Local(..) | MachinesEvent::Thawed(_) => None,
        };
        let Some(held) = held else { return Some(event) };
        held.push(event);
        None
    }
}
